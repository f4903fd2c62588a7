/**
 * Runs in the page: starts a worker that replies to {id, method, args} with {id, value} or {id, error}. Returns `call(method, args, transfer)`, with
 * a method `terminate`.
 */
export function startWorker(url) {
  const worker = new Worker(url);
  const pending = new Map();
  let lastId = 0;
  worker.onmessage = ({ data: { id, value, error } }) => {
    const { resolve, reject } = pending.get(id);
    pending.delete(id);
    if (error) reject(new Error(error));
    else resolve(value);
  };
  worker.onerror = ({ message }) => pending.forEach(({ reject }) => reject(new Error(message)));
  const call = (method, args, transfer = []) => {
    lastId += 1;
    worker.postMessage({ id: lastId, method, args }, transfer);
    return new Promise((resolve, reject) => pending.set(lastId, { resolve, reject }));
  };
  return Object.assign(call, { terminate: () => worker.terminate() });
}
