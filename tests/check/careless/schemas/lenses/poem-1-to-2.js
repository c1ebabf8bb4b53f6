// What is written in capitals comes back in small letters.
export function up(docs) {
  return { 'poem@2': { title: docs['poem@1'].title.toLowerCase() } };
}

export function down(docs) {
  return { 'poem@1': { title: docs['poem@2'].title } };
}
