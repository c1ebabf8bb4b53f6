// What every story needs: to tell the test how it is getting on, and to wait without a clock.

const post = (path, text) => fetch(path, { method: 'POST', body: text });

// Tells a story, and the test how it ended.
export async function told(story) {
  try {
    const { tell } = await import(`./${story}.mjs`);
    await tell(Object.fromEntries(new URLSearchParams(location.search)));
    await post('/done');
  } catch (error) {
    await post('/failed', `${error}\n${error?.stack ?? JSON.stringify(error)}`);
  }
}

// What comes next.
export const step = (what) => post('/step', what);

export function assert(condition, what) {
  if (!condition) throw new Error(what);
}

const events = new EventTarget();
export const happened = () => events.dispatchEvent(new Event('happened'));

// Waits until a condition holds; it is looked at again whenever something has happened.
export async function until(condition) {
  for (;;) {
    const next = new Promise((resolve) => events.addEventListener('happened', resolve, { once: true }));
    if (await condition()) return;
    await next;
  }
}
