/** The answer of a command: JSON for programs, text for people. */
import type { CommandContext } from './context.ts';

export function print(context: CommandContext, value: unknown, forPeople: () => string): void {
  context.out(context.json ? `${JSON.stringify(value, undefined, 2)}\n` : forPeople());
}
