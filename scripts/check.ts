/** `npm run check`: everything that can be judged in seconds. Exit 0 only when every step passed. */
import { runSteps, staticSteps, unitStep } from './steps.ts';

process.exitCode = (await runSteps([unitStep, ...staticSteps])) ? 0 : 1;
