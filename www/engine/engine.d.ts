/** The JavaScript API of inception-web. */
import type { ConvertOptions, Engine, EngineOptions, KeptBase } from "./types.js";

export * from "./types.js";
export { EngineError } from "./error.js";

/**
 * Starts a worker, loads the runtime, the base and the head, and runs the self-test.
 * @throws {EngineError} with a message that says what to do
 */
export function createEngine(options?: EngineOptions): Promise<Engine>;

/**
 * Converts weights files of other projects (timm, torchvision, Keras, TF.js with its shards, ONNX) to a base, and stores it in this browser for
 * `createEngine`.
 * @throws {EngineError} kind `weights` if the files cannot be used; kind `cancelled`
 */
export function convertBase(files: File[], options?: ConvertOptions): Promise<KeptBase>;
