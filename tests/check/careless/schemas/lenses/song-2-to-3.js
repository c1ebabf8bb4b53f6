// As with poems; but no example has capitals, and the classes say nothing of names.
export function up(docs) {
  return { 'song@3': { title: docs['song@2'].name.toLowerCase() } };
}

export function down(docs) {
  return { 'song@2': { name: docs['song@3'].title } };
}
