/* report_check.js - in a browser, behind a report.html and its report.json (#truth): does the page show what the file says?
 * Leaves one line, "equal: N numbers, M layers" or "differs: ...". SPDX-License-Identifier: MIT */
"use strict";
(async () => {
    const truth = JSON.parse(document.getElementById("truth").textContent), wrong = [];
    let count = 0;
    const same = (what, shown, value) => {
        count++;
        if (shown === undefined || shown === null || shown === "" || Number(shown) !== value)
            wrong.push(what + ": " + shown + " for " + value);
    };
    const list = (what, text, values) => {
        const shown = text === undefined ? [] : text.split(" ");
        if (!values || shown.length !== values.length)
            return wrong.push(what + ": " + shown.length + " numbers for " + (values && values.length));
        values.forEach((x, i) => same(what + "[" + i + "]", shown[i] === "null" ? undefined : shown[i], x));
    };
    const data = (selector, key) => document.querySelector(selector)?.dataset[key];

    same("bytes before", data("[data-bytes-before]", "bytesBefore"), truth.model.bytes);
    same("bytes after", data("[data-bytes-after]", "bytesAfter"), truth.result.bytes);
    same("parameters before", data("[data-parameters-before]", "parametersBefore"), truth.model.parameters);
    same("parameters after", data("[data-parameters-after]", "parametersAfter"), truth.result.parameters);
    if (document.querySelector("h1").textContent !== truth.model.name)
        wrong.push("name: " + document.querySelector("h1").textContent);

    const names = {output_error: "outputError", predicted_error: "predictedError"};
    const lists = {groups: "groups", dominant: "dominant", usage: "usage", usage_counts: "usageCounts",
        routed_tokens: "routedTokens"};
    const layer = async l => {
        const card = document.querySelector('.layer[data-layer="' + l.layer + '"]'), where = "layer " + l.layer + " ";
        if (!card)
            return wrong.push(where + "is missing");
        for (const key in names)
            if (key in l)
                same(where + key, card.dataset[names[key]], l[key]);
        for (const key in lists)
            if (key in l)
                list(where + key, card.dataset[lists[key]], l[key]);
        if (l.output_error !== undefined &&
            !(Math.abs(card.querySelector(".error b").textContent - l.output_error) <= 1e-3 * l.output_error))
            wrong.push(where + "shows " + card.querySelector(".error b").textContent);
        const said = [...card.querySelectorAll(".detail .warnings li")].map(x => x.textContent);
        if (JSON.stringify(said) !== JSON.stringify(l.warnings || []))
            wrong.push(where + "warnings: " + said);
        if (l.merges) {
            list(where + "heights", [...card.querySelectorAll(".joins tbody tr")].map(x => x.dataset.height).join(" "),
                l.merges.map(x => x.height));
            if (card.querySelectorAll(".large .cut").length !== 2)
                wrong.push(where + "has no cut");
        }
        const kind = "distances" in l ? "distances" : "similarities" in l ? "similarities" : null;
        if (kind)
            await matrix(card, l, kind, where);
        else if (card.querySelector("image"))
            wrong.push(where + "has a matrix of nothing");
    };

    /* The numbers, the picture pixel by pixel, and what is said under the pointer. */
    const matrix = async (card, l, kind, where) => {
        const figure = card.querySelector("figure"), n = l.groups.length;
        const order = figure.dataset.order.split(" ").map(Number);
        list(where + kind, figure.dataset[kind], l[kind]);
        if ([...order].sort((a, b) => a - b).some((x, i) => x !== i))
            return wrong.push(where + "order: " + order);
        const picture = new Image();
        picture.src = card.querySelector("image").getAttribute("href");
        await picture.decode();
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = n;
        const context = canvas.getContext("2d");
        context.drawImage(picture, 0, 0);
        const pixels = context.getImageData(0, 0, n, n).data;
        const least = Math.min(...l[kind]), most = Math.max(...l[kind]);
        const value = (a, b) => l[kind][Math.min(a, b) * (2 * n - Math.min(a, b) - 1) / 2 +
            Math.max(a, b) - Math.min(a, b) - 1];
        for (let y = 0; y < n; y++)
            for (let x = 0; x < n; x++) {
                const share = most > least ? (value(order[x], order[y]) - least) / (most - least) : 0.5;
                const grey = 255 * (kind === "distances" ? 1 - share : share);
                if (x === y ? pixels[4 * (y * n + x) + 3] !== 0 : !(Math.abs(pixels[4 * (y * n + x)] - grey) <= 1))
                    return wrong.push(where + "pixel " + x + ", " + y + ": " + pixels[4 * (y * n + x)] + " for " + grey);
            }
        card.open = true;
        const pairs = card.querySelector(".pairs"), box = pairs.getBoundingClientRect();
        const x = n - 1, y = n >> 1;
        pairs.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + (x + .5) * box.width / n,
            clientY: box.top + (y + .5) * box.height / n}));
        const said = figure.querySelector("figcaption").textContent;
        if (n > 1 && Number(said.split(" ").pop()) !== value(order[x], order[y]))
            wrong.push(where + "says '" + said + "' for " + value(order[x], order[y]));
        card.open = false;
    };
    for (const l of truth.layers)
        await layer(l);
    const cards = document.querySelectorAll(".layer").length;
    if (cards !== truth.layers.length)
        wrong.push(cards + " cards");
    if (truth.layers.some(l => "output_error" in l) &&
        document.querySelectorAll(".chart .bar").length !== truth.layers.length)
        wrong.push(document.querySelectorAll(".chart .bar").length + " bars");

    const metrics = ["acc", "acc_norm", "token_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"];
    const after = truth.eval?.after || {};
    for (const task in after)
        for (const metric of metrics.filter(x => typeof after[task][x] === "number")) {
            const row = document.querySelector('tr[data-task="' + CSS.escape(task) + '"][data-metric="' + metric + '"]');
            for (const [key, name] of [["before", "before"], ["exact", "exact"], ["after", "after"]]) {
                const of = truth.eval[key]?.[task];
                if (of)
                    same(task + " " + key, row?.dataset[name], of[metric]);
                if (of && key !== "exact" && typeof of[metric + "_stderr"] === "number")
                    same(task + " " + key + " error", row?.dataset[name + "Stderr"], of[metric + "_stderr"]);
            }
        }
    for (const key of ["run_ini_sha256", "statistics_key"])
        if (truth.reproduce && data(".hashes", "none") === undefined &&
            document.querySelector('[data-hash="reproduce.' + key + '"]')?.textContent !== truth.reproduce[key])
            wrong.push("no " + key);

    /* A link into a closed card opens it. */
    const last = truth.layers[truth.layers.length - 1].layer;
    location.hash = "#layer-" + last;
    await new Promise(done => setTimeout(done, 100));
    if (!document.querySelector('.layer[data-layer="' + last + '"]')?.open)
        wrong.push("the link to layer " + last + " opens nothing");

    document.body.textContent = wrong.length ? "differs: " + wrong.slice(0, 10).join("; ") :
        "equal: " + count + " numbers, " + cards + " layers";
})().catch(error => { document.body.textContent = "differs: " + error; });
