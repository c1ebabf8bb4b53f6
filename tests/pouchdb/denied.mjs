// A phone that has written what does not fit: it is told, all else of its batch arrives, and so does the document once it is mended.
import assert from 'node:assert/strict';
import { PouchDB } from './clients.mjs';

const [, , proxy] = process.argv;
const server = new PouchDB(`${proxy}/denied-${process.pid}-${Date.now()}`, {
  fetch(url, options) {
    options.headers.set('App-Version', 'todo-app@1.2.0');
    return PouchDB.fetch(url, options);
  },
});
const todo = (key, title) => ({ _id: `todo-item:${key}:v:1`, schema: 'todo-item', version: 1, title, isDone: false });
const push = async (phone) => {
  const denied = [];
  const pushed = await phone.replicate.to(server).on('denied', (error) => denied.push(error));
  return [pushed, denied];
};
await server.info();
try {
  const phone = new PouchDB('phone', { adapter: 'memory' });
  await phone.bulkDocs([todo('a', 'Buy apples'), todo('b', 5), todo('c', 'Buy cheese'), { _id: 'plain' }]);
  const [pushed, denied] = await push(phone);
  assert.equal(pushed.docs_written, 3);
  assert.equal(pushed.doc_write_failures, 1);
  const reason = 'todo-item@1: /title is not of type "string" (rule /properties/title/type)';
  assert.equal(denied.length, 1);
  assert.deepEqual([denied[0].id, denied[0].name, denied[0].message], ['todo-item:b:v:1', 'forbidden', reason]);
  for (const key of ['a', 'c']) assert.ok((await server.get(`todo-item:${key}:v:3`)).title);
  await server.get('plain');
  await assert.rejects(server.get('todo-item:b:v:1'), { status: 404 });

  await phone.put({ ...(await phone.get('todo-item:b:v:1')), title: 'Buy bread' });
  const [mended, still] = await push(phone);
  assert.deepEqual([mended.docs_written, still], [1, []]);
  assert.equal((await server.get('todo-item:b:v:3')).title, 'Buy bread');

  // Without replication it is an error like any other of CouchDB's.
  await assert.rejects(server.put(todo('d', 5)), { status: 403, name: 'forbidden', message: reason });
  // A deletion fits, whatever is left in it.
  await phone.put({ ...(await phone.get('todo-item:b:v:1')), title: 5, _deleted: true });
  const [gone, none] = await push(phone);
  assert.deepEqual([gone.docs_written, none], [1, []]);
  await assert.rejects(server.get('todo-item:b:v:3'), { status: 404 });
} finally {
  await server.destroy();
}
process.exit();
