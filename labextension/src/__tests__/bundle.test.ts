// @vitest-environment node
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';

const BUILT = resolve(__dirname, '../../../jupyter_gpupredict/labextension/static');
const SOURCES = resolve(__dirname, '..');

describe('what the browser is sent', () => {
  it('is below 300 kB, compressed', () => {
    expect(existsSync(BUILT), 'build it first: jlpm build').toBe(true);
    const sizes = readdirSync(BUILT)
      .filter(name => name.endsWith('.js'))
      .map(name => gzipSync(readFileSync(resolve(BUILT, name))).length);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    expect(total).toBeGreaterThan(10_000);
    expect(total).toBeLessThan(300_000);
  });
});

function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = resolve(folder, entry.name);
    if (entry.isDirectory()) {
      return entry.name === '__tests__' ? [] : files(path);
    }
    return [path];
  });
}

describe('the sources', () => {
  it('write nothing to the console, use no `any`, and name no colour', () => {
    for (const path of files(SOURCES)) {
      const text = readFileSync(path, 'utf8');
      expect(text, path).not.toMatch(/\bconsole\./);
      expect(text, path).not.toMatch(/[:<(,]\s*any\b|\bas any\b/);
      expect(text, path).not.toMatch(/requestExecute/);
      expect(text, path).not.toMatch(/#[0-9a-f]{6}\b|rgba?\(/i);
    }
    const style = readFileSync(resolve(SOURCES, '../style/base.css'), 'utf8');
    expect(style).not.toMatch(/#[0-9a-f]{3,8}\b|rgba?\(|hsla?\(/i);
  });

  it('have the colours of the package’s other pictures', () => {
    const [light = ''] = readFileSync(resolve(SOURCES, '../style/colors.css'), 'utf8').split('}');
    const svg = readFileSync(resolve(SOURCES, '../../jupyter_gpupredict/core/svg.py'), 'utf8');
    const values = (pattern: RegExp) => svg.match(pattern)?.[0].match(/#[0-9a-f]{6}/g) ?? [];
    const [share, figure, memory, window] = values(/^USAGE, COVER, MEMORY, WINDOW = .*$/m);
    const named = { share, figure, memory, window };
    for (const [name, value] of Object.entries(named)) {
      expect(light).toContain(`--gp-${name}: ${value};`);
    }
    values(/^FURTHER = .*$/m).slice(0, 7).forEach((value, i) => expect(light).toContain(`--gp-line-${i + 1}: ${value};`));
  });

  it('touch the server’s connection in one place', () => {
    const touching = files(SOURCES).filter(path =>
      /from '@jupyterlab\/services'/.test(readFileSync(path, 'utf8'))
    );
    expect(touching.map(path => path.slice(SOURCES.length + 1))).toEqual(['transport.ts']);
  });
});
