/** Runs in the page: starts a worker that answers {id, method, args} by {id, value} or {id, error}; returns the function that asks it, with `stop`. */
export function askable(url) {
  const worker = new Worker(url);
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, value, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(value);
  };
  worker.onerror = ({ message }) => waiting.forEach(({ reject }) => reject(new Error(message)));
  const ask = (method, args, transfer = []) => {
    last += 1;
    worker.postMessage({ id: last, method, args }, transfer);
    return new Promise((resolve, reject) => waiting.set(last, { resolve, reject }));
  };
  return Object.assign(ask, { stop: () => worker.terminate() });
}
