// A todo written in any version appears in every other, with the right content.
import { story } from './world.mjs';

await story(async (world) => {
  const { v1, v2, v3 } = world;
  world.online();

  await v1.put('todo-item:bread:v:1', { schema: 'todo-item', version: 1, title: 'Bake bread', isDone: true, isImportant: true });
  await v2.put('todo-item:milk:v:2', { schema: 'todo-item', version: 2, title: 'Buy milk', createdAt: '2024-05-01T08:00:00Z' });
  await v2.put('todo-item-status:milk:v:1', { schema: 'todo-item-status', version: 1, status: 'active' });
  await v3.put('todo-item-status:tea:v:1', { schema: 'todo-item-status', version: 1, status: 'blocked', note: 'no water' });
  await v3.put('todo-item:tea:v:3', { schema: 'todo-item', version: 3, title: 'Make tea', group: 'kitchen', leaves: { green: 2.5 } });

  await world.everybodyHolds({
    'todo-item:bread:v:1': { schema: 'todo-item', version: 1, title: 'Bake bread', isDone: true, isImportant: true },
    'todo-item:bread:v:2': { schema: 'todo-item', version: 2, title: 'Bake bread', isImportant: true },
    'todo-item:bread:v:3': { schema: 'todo-item', version: 3, title: 'Bake bread', isImportant: true, group: 'default' },
    'todo-item-status:bread:v:1': { schema: 'todo-item-status', version: 1, status: 'done' },

    'todo-item:milk:v:1': { schema: 'todo-item', version: 1, title: 'Buy milk', createdAt: '2024-05-01T08:00:00Z', isDone: false },
    'todo-item:milk:v:2': { schema: 'todo-item', version: 2, title: 'Buy milk', createdAt: '2024-05-01T08:00:00Z' },
    'todo-item:milk:v:3': { schema: 'todo-item', version: 3, title: 'Buy milk', createdAt: '2024-05-01T08:00:00Z', group: 'default' },
    'todo-item-status:milk:v:1': { schema: 'todo-item-status', version: 1, status: 'active' },

    'todo-item:tea:v:1': { schema: 'todo-item', version: 1, title: 'Make tea', isDone: false, leaves: { green: 2.5 } },
    'todo-item:tea:v:2': { schema: 'todo-item', version: 2, title: 'Make tea', leaves: { green: 2.5 } },
    'todo-item:tea:v:3': { schema: 'todo-item', version: 3, title: 'Make tea', leaves: { green: 2.5 }, group: 'kitchen' },
    'todo-item-status:tea:v:1': { schema: 'todo-item-status', version: 1, status: 'blocked', note: 'no water' },
  });
});
