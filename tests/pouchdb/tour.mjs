// Two versions of the todo app on one database: node tour.mjs http://127.0.0.1:5985/todos
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
PouchDB.plugin(memory);

// All that an app has to change: the URL, and one header.
const server = (version) => new PouchDB(process.argv[2], {
  fetch(url, options) {
    options.headers.set('App-Version', `todo-app@${version}`);
    return PouchDB.fetch(url, options);
  },
});
const phone = new PouchDB('phone', { adapter: 'memory' });
const laptop = new PouchDB('laptop', { adapter: 'memory' });

// The phone has version 1 of the app, and writes while it is offline.
await phone.put({ _id: 'todo-item:bread:v:1', schema: 'todo-item', version: 1, title: 'Buy bread', isDone: false });
await phone.sync(server('1.2.0'));

// The laptop has version 3. It sees the todo in its own version, and no older one.
await laptop.sync(server('3.0.0'));
const { rows } = await laptop.allDocs();
console.log(rows.map((row) => row.id).filter((id) => id.includes('bread')));
const todo = await laptop.get('todo-item:bread:v:3');
await laptop.put({ ...todo, title: 'Buy rye bread', group: 'groceries' });
await laptop.sync(server('3.0.0'));

// Back to the phone, which knows nothing of groups.
await phone.sync(server('1.2.0'));
const { title, isDone, group } = await phone.get('todo-item:bread:v:1');
console.log({ title, isDone, group });
