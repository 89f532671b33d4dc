// Opens pages in a real browser, at desktop and phone width, light and dark, and says what is wrong.
//
//     node browser.mjs NODE_MODULES PAGE… 
//
// Prints one JSON object: a list of faults, and per page what was measured. With IDLEPROOF_SHOTS it
// leaves pictures in that folder.

import { createRequire } from "node:module";
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, ...pages] = process.argv.slice(2);
const require = createRequire(join(modules, "anything.js"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const profile = mkdtempSync(join(tmpdir(), "idleproof-browser-"));
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  userDataDir: profile,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

const faults = [];
const measured = [];
for (const path of pages) {
  const name = basename(path);
  const url = pathToFileURL(path).href;
  for (const [width, height] of [[1280, 900], [390, 844]]) {
    for (const scheme of ["light", "dark"]) {
      const where = `${name} at ${width}, ${scheme}`;
      const page = await browser.newPage();
      page.on("console", (line) => {
        if (["error", "warn"].includes(line.type())) faults.push(`${where}: console: ${line.text()}`);
      });
      page.on("pageerror", (error) => faults.push(`${where}: ${error}`));
      page.on("request", (request) => {
        if (request.url() !== url && !request.url().startsWith("data:")) faults.push(`${where}: asks for ${request.url()}`);
      });
      await page.setViewport({ width, height });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.goto(url);
      const seen = await page.evaluate(() => {
        const root = document.documentElement;
        const wide = [...document.querySelectorAll("body *")].find((element) => {
          const box = element.getBoundingClientRect();
          return box.right > root.clientWidth + 1 && !element.closest(".scroll, svg, pre, [role=presentation]");
        });
        return {
          overflow: root.scrollWidth - root.clientWidth,
          wide: wide ? `${wide.tagName} ${wide.className} ${wide.textContent.slice(0, 60)}` : null,
          scripts: document.scripts.length,
          handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
          links: [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")).filter((href) => /^\s*(javascript|data):/i.test(href)),
          text: document.body.innerText.length,
        };
      });
      if (seen.overflow > 1) faults.push(`${where}: ${seen.overflow} pixels wider than the screen: ${seen.wide}`);
      if (seen.scripts + seen.handlers + seen.links.length > 0) faults.push(`${where}: holds what runs: ${JSON.stringify(seen)}`);
      if (process.env.IDLEPROOF_SHOTS) {
        await page.screenshot({ path: join(process.env.IDLEPROOF_SHOTS, `${name}-${width}-${scheme}.png`), fullPage: true });
      }
      // The policy of the page forbids scripts, this one too: it is measured in a page without policy.
      await page.close();
      const open = await browser.newPage();
      await open.setBypassCSP(true);
      await open.setViewport({ width, height });
      await open.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await open.goto(url);
      await open.evaluate(axe);
      const result = await open.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const violation of result.violations) {
        const first = violation.nodes[0];
        faults.push(`${where}: ${violation.id} (${violation.impact}), ${violation.nodes.length} times: ${first.html.slice(0, 200)}: ${first.failureSummary}`);
      }
      measured.push({ where, text: seen.text, rules: result.passes.length });
      if (width === 1280 && scheme === "light") {
        // An A4 page between its margins: paper cannot be scrolled.
        await open.setViewport({ width: 718, height: 1000 });
        await open.emulateMediaType("print");
        const wider = await open.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wider > 1) faults.push(`${where}, printed: ${wider} pixels wider than the paper`);
        const pdf = await open.pdf({ format: "A4" });
        const count = (Buffer.from(pdf).toString("latin1").match(/\/Type\s*\/Page[^s]/g) ?? []).length;
        if (count === 0) faults.push(`${where}: prints to no page`);
        measured.push({ where: `${name} printed`, pages: count });
      }
      await open.close();
    }
  }
}
await browser.close();
rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
console.log(JSON.stringify({ faults, measured }, null, 1));
