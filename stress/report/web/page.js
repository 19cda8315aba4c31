// SPDX-License-Identifier: MIT
"use strict";
(() => {
	const data = JSON.parse(document.getElementById("data").textContent);
	const get = (id) => document.getElementById(id);
	const chart = get("chart"), rows = get("rows"), state = get("state");
	const row = (id) => get("r" + id);
	const ops = Array.from(rows.querySelectorAll("button.op"));
	let selected = -1;

	for (const e of document.querySelectorAll(".copy, #unfold, #fold, #filter")) e.hidden = false;

	// Folds.
	function setFold(fold, open) {
		const button = rows.querySelector(`.more[data-of="${fold}"]`);
		if (!button) return;
		button.setAttribute("aria-expanded", open);
		button.closest("li").classList.toggle("opened", open);
		for (const li of rows.querySelectorAll(`li[data-fold="${fold}"]`)) {
			if (li.classList.contains("fold")) continue;
			li.hidden = !open;
			li.classList.add("inside");
			const lane = laneOf(li);
			if (open && lane >= 0 && !boxes[lane].checked) boxes[lane].checked = true;
		}
	}
	function setAll(open) {
		for (const button of rows.querySelectorAll(".more")) setFold(button.dataset.of, open);
		layOut();
	}

	const longest = Math.max(...Array.from(document.querySelectorAll(".head"), (e) => e.title.length), 1);
	// Lanes: a filter by task. What a lane's number is among the shown ones stands in the style.
	const boxes = Array.from(document.querySelectorAll("input[name=lane]"));
	function laneOf(li) {
		const c = Array.from(li.classList).find((c) => /^t\d+$/.test(c));
		return c ? Number(c.slice(1)) : -1;
	}
	function layOut() {
		let n = 0, columns = "", hidden = "";
		boxes.forEach((box, i) => {
			columns += `--l${i}: ${n};`;
			if (box.checked) n++;
			else hidden += `.t${i}, .f${i} { display: none !important }\n`;
		});
		get("columns").textContent = `:root { --n: ${Math.max(n, 1)}; --longest: ${longest}; ${columns} }\n${hidden}`;
		get("count").textContent = `${n} of ${boxes.length}`;
		measure();
	}
	// Lanes too narrow for text have it behind them, or, if they leave no room there, below their dots.
	function measure() {
		const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
		const n = boxes.filter((b) => b.checked).length;
		const room = chart.clientWidth - 27.4 * rem, least = 0.65 * rem;
		const dense = n > 1 && room / (n - 1) < 5.5 * rem;
		chart.classList.toggle("dense", dense);
		chart.classList.toggle("packed", dense && chart.clientWidth - n * least < 18 * rem);
	}

	// The state at a step.
	function line(sign, text, field) {
		const span = document.createElement("span");
		span.className = sign > 0 ? "add" : sign < 0 ? "del" : "";
		span.classList.toggle("touched", text.split(":")[0].toLowerCase() === field);
		span.textContent = (sign > 0 ? "+ " : sign < 0 ? "− " : "  ") + text;
		return span;
	}
	function reveal(id) {
		const li = row(id), lane = laneOf(li);
		if (li.hidden) setFold(li.dataset.fold, true);
		if (lane >= 0) boxes[lane].checked = true;
		layOut();
	}
	function show(id, focus) {
		const look = data.steps[id];
		if (!look) return;
		for (const li of rows.querySelectorAll(".selected, .related")) li.classList.remove("selected", "related");
		selected = id;
		const li = row(id);
		li.classList.add("selected");
		for (const other of [look.prev, look.next]) if (other >= 0) row(other).classList.add("related");
		const step = li.querySelector(".number").textContent, who = li.querySelector(".who").textContent;
		get("state-title").textContent = look.object || "no structure";
		get("state-step").textContent = [step && "after step " + step, who, li.querySelector(".what").textContent, look.func,
			"at " + look.now].filter(Boolean).join(" · ");
		get("prev").disabled = look.prev < 0;
		get("next").disabled = look.next < 0;
		const text = get("state-text");
		text.replaceChildren();
		const diff = look.diff || [];
		for (let i = 0; i < diff.length; i += 2) text.append(line(diff[i], data.words[diff[i + 1]], look.field));
		if (!diff.length) text.textContent = look.object ? "nothing is known of it at this step" : "this step touches no structure";
		state.hidden = false;
		document.body.classList.add("showing");
		rove(li.querySelector("button.op"));
		if (focus) li.querySelector("button.op").focus();
		measure();
	}
	function close() {
		state.hidden = true;
		document.body.classList.remove("showing");
		for (const li of rows.querySelectorAll(".selected, .related")) li.classList.remove("selected", "related");
		if (selected >= 0) row(selected).querySelector("button.op").focus();
		selected = -1;
		measure();
	}
	function go(to) {
		if (selected < 0 || to < 0) return;
		reveal(to);
		show(to, true);
		row(to).scrollIntoView({ block: "nearest" });
	}

	// One step of the chart is in the tab order; the arrow keys move among the visible ones.
	let current = null;
	function rove(button) {
		if (current) current.tabIndex = -1;
		current = button;
		current.tabIndex = 0;
	}
	function stops() {
		return Array.from(rows.querySelectorAll("button")).filter((b) => b.offsetParent !== null);
	}
	function move(from, by) {
		const all = stops(), at = all.indexOf(from);
		const to = by === -Infinity ? all[0] : by === Infinity ? all[all.length - 1] : all[at + by];
		if (!to) return;
		if (to.classList.contains("op")) rove(to);
		to.focus();
		to.scrollIntoView({ block: "nearest" });
	}
	rows.addEventListener("keydown", (e) => {
		const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity }[e.key];
		if (by === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
		const button = e.target.closest("button");
		if (!button) return;
		e.preventDefault();
		move(button, by);
	});
	document.addEventListener("keydown", (e) => {
		if (e.key === "Escape" && !state.hidden) close();
	});
	rows.addEventListener("click", (e) => {
		const button = e.target.closest("button");
		if (!button) return;
		if (button.classList.contains("more")) {
			setFold(button.dataset.of, button.getAttribute("aria-expanded") !== "true");
			layOut();
		} else {
			show(Number(button.dataset.id), false);
		}
	});

	get("unfold").addEventListener("click", () => setAll(true));
	get("fold").addEventListener("click", () => setAll(false));
	get("close").addEventListener("click", close);
	get("prev").addEventListener("click", () => go(data.steps[selected].prev));
	get("next").addEventListener("click", () => go(data.steps[selected].next));
	for (const box of boxes) box.addEventListener("change", layOut);
	for (const button of document.querySelectorAll("[data-tasks]")) {
		button.addEventListener("click", () => {
			for (const box of boxes) box.checked = button.dataset.tasks === "all" || box.dataset.some === "true";
			layOut();
		});
	}
	for (const button of document.querySelectorAll(".copy")) {
		button.addEventListener("click", async () => {
			const code = button.previousElementSibling;
			getSelection().selectAllChildren(code);
			try {
				await navigator.clipboard.writeText(code.textContent);
			} catch {
				document.execCommand("copy");
			}
			button.textContent = "copied";
			setTimeout(() => { button.textContent = "copy"; }, 1500);
		});
	}

	const fails = rows.querySelector(".fails button.op");
	if (fails || ops.length) rove(fails || ops[0]);
	new ResizeObserver(measure).observe(chart);
	layOut();
})();
