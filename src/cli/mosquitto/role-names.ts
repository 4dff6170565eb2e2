/** Names of roles: what the user is called, as far as a role may be called so. */

/** Of groups of users, each of one user or of several with the same rules. */
export function nameRoles<T extends readonly [string, ...string[]]>(
  groups: readonly T[],
): readonly (readonly [name: string, users: T])[] {
  // What every device has; a user of that name must not become all of them.
  const taken = new Set(['device']);
  return groups.map((users) => {
    const wanted = users.length === 1 ? slug(users[0]) : 'users';
    let name = wanted;
    for (let i = 2; taken.has(name); i += 1) name = `${wanted}-${i}`;
    taken.add(name);
    return [name, users] as const;
  });
}

function slug(user: string): string {
  const text = user.toLowerCase().replace(/[^a-z0-9_-]+/gu, '-');
  return (/^[a-z]/u.test(text) ? text : `user-${text}`).slice(0, 56);
}
