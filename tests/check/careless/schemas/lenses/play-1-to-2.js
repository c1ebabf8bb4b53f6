// A title that is there already never changes.
export function up(docs, existing) {
  return { 'play@2': { title: (existing['play@2'] ?? docs['play@1']).title } };
}

export function down(docs) {
  return { 'play@1': { title: docs['play@2'].title } };
}
