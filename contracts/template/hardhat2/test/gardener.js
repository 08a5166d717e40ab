// The consumer against the mock oracle: npx hardhat test
const assert = require("node:assert/strict");
const { ethers } = require("hardhat");
const { decode, encode } = require("@verifiable-inference/contracts");
const { inferenceClient } = require("@verifiable-inference/contracts/ethers");

// Elements, bytes, fractional bits, least, greatest: oracle model show 1
const INPUT = [4, 3, 12, -7_578, 40_346];
const OUTPUT = [3, 8, 36, -9_217_462_324_974_321_663n, 9_217_462_324_974_321_663n];
const FLOWER = [5.1, 3.5, 1.4, 0.2];

describe("Gardener", () => {
  let oracle, gardener, client, model, price;

  beforeEach(async () => {
    oracle = await ethers.deployContract("TestOracle");
    await oracle.addModel(INPUT, OUTPUT, 10_000);
    gardener = await ethers.deployContract("Gardener", [await oracle.getAddress()]);
    const [, caller] = await ethers.getSigners();
    client = inferenceClient(await oracle.getAddress(), caller);
    gardener = gardener.connect(caller);
    model = await client.model(1);
    price = await client.estimateCost(1, { callbackGas: await gardener.CALLBACK_GAS() });
  });

  async function ask() {
    const sent = await gardener.ask(encode(FLOWER, model.input), { value: price });
    const [{ requestId }] = await client.requestsOf(sent.hash);
    return requestId;
  }

  // Fixed point, as a proof has them: real value = integer / 2**scale.
  const scores = (...values) => values.map((value) => BigInt(Math.round(value * 2 ** OUTPUT[2])));

  it("keeps a proved setosa", async () => {
    const requestId = await ask();
    assert.equal(await gardener.isSetosa(requestId), false);
    await oracle.answer(requestId, scores(7.5, -0.25, 2));
    assert.equal(await gardener.isSetosa(requestId), true);
    const { output, values, callbackSucceeded } = await client.wait(requestId);
    assert.ok(callbackSucceeded, "raise CALLBACK_GAS");
    assert.deepEqual(values, [7.5, -0.25, 2]);
    assert.deepEqual(decode(output, model.output), values);
  });

  it("keeps nothing of another", async () => {
    const requestId = await ask();
    await oracle.answer(requestId, scores(1, 7.5, 2));
    assert.equal(await gardener.isSetosa(requestId), false);
  });

  it("passes on what the oracle says of too little money", async () => {
    const call = gardener.ask.staticCall(encode(FLOWER, model.input), { value: 1n });
    const error = await call.then(() => assert.fail("accepted"), (refused) => refused);
    // The consumer's ABI has not got the oracle's errors: the oracle's has.
    const { name, args } = oracle.interface.parseError(error.data);
    assert.equal(name, "Underpaid");
    assert.equal(args.sent, 1n);
    assert.ok(args.required > 1n);
  });

  it("gives the money back when nobody answers", async () => {
    const requestId = await ask();
    await oracle.expire(requestId);
    const outcome = await client.outcome(requestId);
    assert.equal(outcome.status, "refunded");
    assert.equal(outcome.fee + outcome.gasMoney, price);
  });
});
