// Asks for a company every second while the box is ticked, and shows where each answer came from: every other time for one
// that was asked for before, so that there is something to remember. A local toy: the sandbox serves it, nobody deploys it.
"use strict";
(() => {
  const NUMBERS = ["1234567891", "1111111119", "4440000006", "5550000005", "6660000004", "7770000003"];
  const WEIGHTS = [1, 3, 7, 1, 3, 7, 1, 3, 5];
  const last = [];
  let ask = null, timer = 0, turn = 0, asking = false;

  const draw = () => {
    const list = document.getElementById("answers");
    if (!list) return;
    list.replaceChildren(...last.map(({ word, kind }) => {
      const item = document.createElement("li");
      item.textContent = word;
      item.className = kind;
      return item;
    }));
  };

  // A business number nobody asked for yet; its last digit is checked (National Tax Service).
  const unused = () => {
    const nine = `301${String(Math.floor(Math.random() * 1e6)).padStart(6, "0")}`;
    const sum = [...nine].reduce((all, digit, place) => all + digit * WEIGHTS[place], Math.floor(nine[8] * 5 / 10));
    return `${nine}${(10 - sum % 10) % 10}`;
  };

  const once = async () => {
    if (asking || !ask) return;
    asking = true;
    const began = performance.now();
    const number = turn++ % 2 ? unused() : NUMBERS[turn / 2 % NUMBERS.length | 0];
    let word, kind = "";
    try {
      const answer = await ask("GET", `/v1/companies/${number}`);
      const source = answer.headers.get("x-ieum-source") ?? String(answer.status);
      word = `${source} ${Math.round(performance.now() - began)} ms`;
      kind = answer.ok ? (source === "live" || source === "cached" ? "" : "stand-in") : "failed";
    } catch {
      word = "–";
      kind = "failed";
    }
    asking = false;
    last.unshift({ word, kind });
    last.length = Math.min(last.length, 30);
    draw();
  };

  document.addEventListener("ieum:shown", ({ detail }) => {
    ask = detail.ask;
    if (detail.name !== "sandbox") return;
    const box = document.getElementById("traffic");
    box.checked = timer !== 0;
    box.addEventListener("change", (event) => {
      // Nothing that has to be saved was typed here.
      event.stopPropagation();
      clearInterval(timer);
      timer = box.checked ? setInterval(once, 1000) : 0;
    });
    draw();
  });
})();
