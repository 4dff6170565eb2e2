/** How a command module hands its work to the program, which knows the options that all commands share. */
import type { CommandContext, ExitCode } from './context.ts';

export type Work = (context: CommandContext) => Promise<ExitCode>;
export type Run = (work: Work) => Promise<void>;
