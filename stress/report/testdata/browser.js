// SPDX-License-Identifier: MIT
"use strict";
(() => {
	const answer = { width: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches, checks: 0, failures: [], texts: 0, worst: 99 };
	const check = (ok, what) => {
		answer.checks++;
		if (!ok) answer.failures.push(what);
	};
	const all = (selector) => Array.from(document.querySelectorAll(selector));
	const one = (selector) => document.querySelector(selector);
	const seen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
	const press = (e, key) => e.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
	const soon = () => new Promise((done) => setTimeout(done, 50));

	// Contrast, as WCAG 2 has it, of every text that is seen.
	const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	function rgba(color) {
		pixel.clearRect(0, 0, 1, 1);
		pixel.fillStyle = color;
		pixel.fillRect(0, 0, 1, 1);
		return Array.from(pixel.getImageData(0, 0, 1, 1).data);
	}
	function background(e) {
		for (; e; e = e.parentElement) {
			const c = rgba(getComputedStyle(e).backgroundColor);
			if (c[3] === 255) return c;
		}
		return [255, 255, 255, 255];
	}
	function luminance(c) {
		const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	}
	function contrasts(where) {
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walk.nextNode()) {
			const e = walk.currentNode.parentElement;
			if (!walk.currentNode.data.trim() || !seen(e) || e.closest("script, style") || getComputedStyle(e).clipPath !== "none") continue;
			const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(background(e))].sort((x, y) => y - x);
			const ratio = (a + 0.05) / (b + 0.05);
			answer.texts++;
			if (ratio < answer.worst) answer.worst = ratio;
			if (ratio < 4.5) answer.failures.push(`${where}: contrast ${ratio.toFixed(2)} of "${walk.currentNode.data.trim().slice(0, 30)}"`);
		}
	}
	function fits(where) {
		const wide = document.documentElement.scrollWidth;
		check(wide <= innerWidth, `${where}: the page is ${wide} wide in a window of ${innerWidth}`);
	}
	const outside = () => all("#rows button.op").filter((b) => seen(b));

	async function run() {
		await soon();
		// As it opens.
		check(seen(one("h1")) && one("h1").textContent.length > 3, "no sentence");
		check(all(".facts dt").length >= 5, "no facts");
		check(all(".command code").length === 2 && seen(one(".copy")), "no commands to copy");
		check(one("#state").hidden, "the state is open before anything is chosen");
		check(all(".fails").length === 1 && seen(one(".fails")), "the failing step is not seen");
		check(all("li[data-fold]:not(.fold)").every((li) => !seen(li)), "a folded step is seen");
		check(all("#rows [tabindex='0']").length === 1, "not exactly one step is in the tab order");
		fits("at first");
		contrasts("at first");

		// A click shows the state at a step.
		const steps = JSON.parse(one("#data").textContent).steps;
		const changed = (b) => ((steps[b.dataset.id] || {}).diff || []).some((x, i) => i % 2 === 0 && x !== 0);
		one("#unfold").click();
		await soon();
		check(all("li[data-fold]").every(seen), "unfold all leaves a step folded");
		const step = outside().find(changed);
		check(!!step, "no step changes anything");
		step.click();
		check(!one("#state").hidden && seen(one("#state-text")), "a click on a step does not show its state");
		check(one("#state-title").textContent === steps[step.dataset.id].object, "the state is not that of the step");
		check(all("#state-text .add").length + all("#state-text .del").length > 0, "what has changed is not marked");
		check(step.closest("li").classList.contains("selected"), "the step is not marked");
		fits("with the state");
		contrasts("with the state");

		// What the operation before on the same structure did.
		if (steps[step.dataset.id].prev >= 0) {
			one("#prev").click();
			await soon();
			check(one("li.selected").id === "r" + steps[step.dataset.id].prev, "the operation before is not shown");
		}

		// Keys.
		const at = one("li.selected button.op");
		at.focus();
		press(at, "ArrowDown");
		check(document.activeElement !== at && document.activeElement.closest("#rows"), "the arrow key does not move");
		press(document.activeElement, "ArrowUp");
		check(document.activeElement === at, "the arrow key does not move back");
		press(at, "End");
		check(Array.from(one("#rows").querySelectorAll("button")).filter(seen).pop() === document.activeElement, "End does not go to the end");
		press(document.body, "Escape");
		check(one("#state").hidden, "Escape does not close the state");
		check(document.activeElement === at, "the focus does not come back to the step");

		// Folds.
		one("#fold").click();
		await soon();
		const more = one("#rows .more"), inside = () => all(`li[data-fold="${more.dataset.of}"]:not(.fold)`);
		check(inside().length > 1 && inside().every((li) => !seen(li)), "fold does not fold");
		more.click();
		await soon();
		check(inside().every(seen) && more.getAttribute("aria-expanded") === "true", "a fold does not open");
		more.click();
		await soon();
		check(inside().every((li) => !seen(li)) && more.getAttribute("aria-expanded") === "false", "a fold does not close");

		// The filter.
		one("#filter").open = true;
		one("[data-tasks=some]").click();
		await soon();
		const lanes = all(".head").filter(seen).length, box = one("input[name=lane]:checked"), lane = "t" + box.value;
		contrasts("with the filter");
		box.click();
		await soon();
		check(all(".head").filter(seen).length === lanes - 1, "the filter does not hide a lane");
		check(all("#rows li." + lane).every((li) => !seen(li)), "the filter does not hide the steps of a lane");
		box.click();
		await soon();
		check(all(".head").filter(seen).length === lanes, "the filter does not show a lane again");
		one("[data-tasks=all]").click();
		await soon();
		check(all(".head").every(seen), "all tasks are not all");
		fits("with all tasks");

		// The head stays in sight.
		one("#unfold").click();
		await soon();
		const rows = all("#rows li");
		rows[Math.floor(rows.length / 2)].scrollIntoView({ block: "start", behavior: "instant" });
		const top = one(".heads").getBoundingClientRect().top;
		check(scrollY === 0 || one("#chart").getBoundingClientRect().top > 0 || top === 0, "the task names scroll out of sight");

		check(performance.getEntriesByType("resource").length === 0, "the page loads something");
		for (const problem of window.problems) answer.failures.push(problem);
	}
	run().catch((e) => answer.failures.push(String(e))).then(() => parent.postMessage(JSON.stringify(answer), "*"));
})();
