// The documented address of the JavaScript API; its types are in engine/engine.d.ts.
export * from "./engine/engine.js";
