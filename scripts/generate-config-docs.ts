/** Writes docs/configuration.md from the schema of the configuration. */
import { writeFileSync } from 'node:fs';
import { configReference } from '../src/common/config/config-reference.ts';

writeFileSync(new URL('../docs/configuration.md', import.meta.url), configReference());
