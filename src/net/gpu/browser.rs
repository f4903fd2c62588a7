//! Bindings to the part of [WebGPU](https://www.w3.org/TR/webgpu/) that the GPU backend uses. Exceptions are returned as `Err`.

use js_sys::{Array, ArrayBuffer, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, prelude::*};

/// `GPUBufferUsage` and `GPUMapMode`.
pub(crate) const MAP_READ: u32 = 1;
pub(crate) const COPY_SRC: u32 = 4;
pub(crate) const COPY_DST: u32 = 8;
pub(crate) const UNIFORM: u32 = 64;
pub(crate) const STORAGE: u32 = 128;
pub(crate) const READ: u32 = 1;
/// `GPUShaderStage.COMPUTE`.
pub(crate) const COMPUTE: u32 = 4;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = GPU)]
    pub(crate) type Gpu;
    #[wasm_bindgen(method, catch, js_name = requestAdapter)]
    pub(crate) fn request_adapter(this: &Gpu, options: &Object) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_name = GPUAdapter)]
    pub(crate) type Adapter;
    #[wasm_bindgen(method, catch, js_name = requestDevice)]
    pub(crate) fn request_device(this: &Adapter, descriptor: &Object) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_name = GPUDevice)]
    pub(crate) type Device;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn queue(this: &Device) -> Queue;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn lost(this: &Device) -> Promise;
    #[wasm_bindgen(method, setter, js_name = onuncapturederror)]
    pub(crate) fn set_onuncapturederror(this: &Device, listener: Option<&js_sys::Function>);
    #[wasm_bindgen(method)]
    pub(crate) fn destroy(this: &Device);
    #[wasm_bindgen(method, js_name = pushErrorScope)]
    pub(crate) fn push_error_scope(this: &Device, filter: &str);
    #[wasm_bindgen(method, js_name = popErrorScope)]
    pub(crate) fn pop_error_scope(this: &Device) -> Promise;
    #[wasm_bindgen(method, catch, js_name = createBuffer)]
    pub(crate) fn create_buffer(this: &Device, descriptor: &Object) -> Result<Buffer, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createShaderModule)]
    pub(crate) fn create_shader_module(
        this: &Device,
        descriptor: &Object,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createBindGroupLayout)]
    pub(crate) fn create_bind_group_layout(
        this: &Device,
        descriptor: &Object,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createPipelineLayout)]
    pub(crate) fn create_pipeline_layout(
        this: &Device,
        descriptor: &Object,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createBindGroup)]
    pub(crate) fn create_bind_group(this: &Device, descriptor: &Object)
    -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createComputePipelineAsync)]
    pub(crate) fn create_compute_pipeline(
        this: &Device,
        descriptor: &Object,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createCommandEncoder)]
    pub(crate) fn create_command_encoder(this: &Device) -> Result<Encoder, JsValue>;

    #[wasm_bindgen(js_name = GPUQueue)]
    pub(crate) type Queue;
    #[wasm_bindgen(method, catch, js_name = writeBuffer)]
    pub(crate) fn write_f32(
        this: &Queue,
        buffer: &Buffer,
        offset: f64,
        data: &[f32],
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = writeBuffer)]
    pub(crate) fn write_f16(
        this: &Queue,
        buffer: &Buffer,
        offset: f64,
        data: &[u16],
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = writeBuffer)]
    pub(crate) fn write_u32(
        this: &Queue,
        buffer: &Buffer,
        offset: f64,
        data: &[u32],
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn submit(this: &Queue, commands: &Array) -> Result<(), JsValue>;

    #[wasm_bindgen(js_name = GPUBuffer)]
    pub(crate) type Buffer;
    #[wasm_bindgen(method, catch, js_name = mapAsync)]
    pub(crate) fn map(this: &Buffer, mode: u32) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getMappedRange)]
    pub(crate) fn mapped_range(this: &Buffer) -> Result<ArrayBuffer, JsValue>;
    #[wasm_bindgen(method, js_name = destroy)]
    pub(crate) fn destroy_buffer(this: &Buffer);

    #[wasm_bindgen(js_name = GPUCommandEncoder)]
    pub(crate) type Encoder;
    #[wasm_bindgen(method, catch, js_name = beginComputePass)]
    pub(crate) fn begin_compute_pass(this: &Encoder) -> Result<Pass, JsValue>;
    #[wasm_bindgen(method, catch, js_name = copyBufferToBuffer)]
    pub(crate) fn copy_buffer(
        this: &Encoder,
        from: &Buffer,
        start: f64,
        to: &Buffer,
        offset: f64,
        size: f64,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn finish(this: &Encoder) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(js_name = GPUComputePassEncoder)]
    pub(crate) type Pass;
    #[wasm_bindgen(method, catch, js_name = setPipeline)]
    pub(crate) fn set_pipeline(this: &Pass, pipeline: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = setBindGroup)]
    pub(crate) fn set_bind_group(
        this: &Pass,
        index: u32,
        group: &JsValue,
        offsets: &Array,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = dispatchWorkgroups)]
    pub(crate) fn dispatch_workgroups(this: &Pass, x: u32, y: u32, z: u32) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn end(this: &Pass) -> Result<(), JsValue>;
}

#[wasm_bindgen]
extern "C" {
    /// `performance.now()`, in milliseconds.
    #[wasm_bindgen(js_namespace = performance)]
    pub(crate) fn now() -> f64;
}

/// `navigator.gpu`, in a window or a worker.
pub(crate) fn gpu() -> Option<Gpu> {
    let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
    gpu.is_truthy().then(|| gpu.unchecked_into())
}

/// Gets a property, or undefined.
pub(crate) fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Creates an object from properties.
pub(crate) fn object<const N: usize>(properties: [(&str, JsValue); N]) -> Object {
    Object::from_entries(&list(
        properties.map(|(name, value)| list([name.into(), value]).into()),
    ))
    .expect("a list of pairs")
}

/// Creates an array.
pub(crate) fn list(values: impl IntoIterator<Item = JsValue>) -> Array {
    values.into_iter().collect()
}

/// The message of an error.
pub(crate) fn message(error: &JsValue) -> String {
    let message = get(error, "message").as_string();
    message.or_else(|| error.as_string()).unwrap_or_default()
}
