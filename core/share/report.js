/* report.js - what report.html does beside being read: pairs of experts under the pointer, links that open their layer,
 * every layer open on paper. SPDX-License-Identifier: MIT */
"use strict";
(() => {
    const numbers = text => text ? text.split(" ").map(Number) : [];

    /* The pair under the pointer, said below the picture. */
    const pairSay = event => {
        const figure = event.currentTarget.closest("figure");
        const box = event.currentTarget.getBoundingClientRect();
        const order = numbers(figure.dataset.order), n = order.length;
        const at = (x, size) => Math.min(n - 1, Math.max(0, Math.floor(x / size * n)));
        const a = order[at(event.clientX - box.left, box.width)], b = order[at(event.clientY - box.top, box.height)];
        const i = Math.min(a, b), j = Math.max(a, b);
        const kind = figure.dataset.distances ? "distances" : "similarities";
        const value = i === j ? "" : figure.dataset[kind].split(" ", i * (2 * n - i - 1) / 2 + j - i).pop();
        figure.querySelector("figcaption").textContent = i === j ? "expert " + i :
            "experts " + i + " and " + j + ": " + (kind === "distances" ? "distance " : "similarity ") + value;
    };
    for (const pairs of document.querySelectorAll(".pairs"))
        pairs.addEventListener("pointermove", pairSay);

    /* A link into a closed card opens it. */
    const targetOpen = () => {
        const target = document.getElementById(location.hash.slice(1));
        const card = target && target.closest("details");
        if (card) {
            card.open = true;
            card.scrollIntoView();
        }
    };
    addEventListener("hashchange", targetOpen);
    targetOpen();

    let closed = [];
    addEventListener("beforeprint", () => {
        closed = [...document.querySelectorAll("details:not([open], .layer .more)")];
        for (const details of closed)
            details.open = true;
    });
    addEventListener("afterprint", () => {
        for (const details of closed)
            details.open = false;
    });
})();
