// A shop in Node: tell what happened, ask what to show, say why, take no for an answer.
//
//   TACIT_SOCKET=…/tacit.sock TACIT_TOKEN=… node shop.js

import { connect } from "./personalizer.js";

const { TACIT_SOCKET, TACIT_TOKEN } = process.env;
if (!TACIT_SOCKET || !TACIT_TOKEN) {
  console.error("expected TACIT_SOCKET and TACIT_TOKEN; see examples/node/README.md");
  process.exit(2);
}
const device = connect(TACIT_SOCKET, TACIT_TOKEN);

try {
  const viewed = JSON.stringify({ product_id: "kettle" });
  await device.track({ event: "Product Viewed", propertiesJson: viewed, eventId: "visit-1" });
  const again = await device.track({
    event: "Product Viewed",
    propertiesJson: viewed,
    eventId: "visit-1",
  });
  console.log(`told twice, kept once: ${again.duplicate}`);

  await device.context({ outOfStock: { items: ["tin"] }, timeZone: "Europe/Berlin" });
  const decision = await device.recommend({ surface: "home", k: 3 });
  for (const item of decision.items) {
    const why = await device.explain({ decisionId: decision.id, item: item.itemId });
    console.log(`${item.title}: ${why.text}`);
  }
  const missing = await device.explain({ decisionId: decision.id, item: "tin" });
  console.log(`Tea tin is not shown: ${missing.rules.join(", ")}`);
  await device.shown({ decisionId: decision.id });

  const first = decision.items[0].itemId;
  await device.outcome({ decisionId: decision.id, item: first, event: "Product Added" });
  await device.prefer({ kind: "item", value: decision.items[1].itemId, weight: -1 });
  const next = await device.recommend({ surface: "home", k: 3 });
  const gone = next.items.every((item) => item.itemId !== decision.items[1].itemId);
  console.log(`not interested, not shown again: ${gone}`);

  const question = await device.nextQuestion();
  console.log(question.question?.text ?? "nothing left to ask");

  // This app was given home and the everyday verbs; the device keeps it to them.
  for (const [what, call] of [
    ["the surface push", () => device.recommend({ surface: "push" })],
    ["the whole profile", () => device.state()],
  ]) {
    await call().catch((error) => console.log(`refused ${what}: ${error.details}`));
  }
} catch (error) {
  // What the device or the connection refuses is one line; anything else is a fault of this file.
  if (error.details === undefined) throw error;
  console.error(error.details);
  process.exitCode = 1;
} finally {
  device.close();
}
