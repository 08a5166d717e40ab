// The consumer against the mock oracle: npx hardhat test
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { network } from "hardhat";
import { decode, encode } from "@verifiable-inference/contracts";
import { inferenceClient } from "@verifiable-inference/contracts/viem";

// Elements, bytes, fractional bits, least, greatest: oracle model show 1
const INPUT = { elements: 4, width: 3, scale: 12, minimum: -7_578n, maximum: 40_346n };
const RANGE = 9_217_462_324_974_321_663n;
const OUTPUT = { elements: 3, width: 8, scale: 36, minimum: -RANGE, maximum: RANGE };
const FLOWER = [5.1, 3.5, 1.4, 0.2];
// Hardhat 3 estimates at base fee 0, where the mock's constructor stores less: that may be too little.
const DEPLOYMENT_GAS = 12_000_000n;

describe("Gardener", async () => {
  const { viem } = await network.create();
  const [, caller] = await viem.getWalletClients();
  const oracle = await viem.deployContract("TestOracle", [], { gas: DEPLOYMENT_GAS });
  await oracle.write.addModel([INPUT, OUTPUT, 10_000n]);
  const gardener = await viem.deployContract("Gardener", [oracle.address]);
  const client = inferenceClient(oracle.address, await viem.getPublicClient(), caller);
  const model = await client.model(1);
  const price = await client.estimateCost(1, { callbackGas: await gardener.read.CALLBACK_GAS() });

  async function ask(): Promise<bigint> {
    const input = encode(FLOWER, model.input);
    const hash = await gardener.write.ask([input], { value: price, account: caller.account });
    const [asked] = await client.requestsOf(hash);
    return asked.requestId;
  }

  // Fixed point, as a proof has them: real value = integer / 2**scale.
  const scores = (...values: number[]) =>
    values.map((value) => BigInt(Math.round(value * 2 ** OUTPUT.scale)));

  it("keeps a proved setosa", async () => {
    const requestId = await ask();
    assert.equal(await gardener.read.isSetosa([requestId]), false);
    await oracle.write.answer([requestId, scores(7.5, -0.25, 2)]);
    assert.equal(await gardener.read.isSetosa([requestId]), true);
    const { output, values, callbackSucceeded } = await client.wait(requestId);
    assert.ok(callbackSucceeded, "raise CALLBACK_GAS");
    assert.deepEqual(values, [7.5, -0.25, 2]);
    assert.deepEqual(decode(output, model.output), values);
  });

  it("keeps nothing of another", async () => {
    const requestId = await ask();
    await oracle.write.answer([requestId, scores(1, 7.5, 2)]);
    assert.equal(await gardener.read.isSetosa([requestId]), false);
  });

  it("says why too little money is refused", async () => {
    const input = encode(FLOWER, model.input);
    const call = client.request(1, FLOWER, { value: 1n });
    await assert.rejects(call, /Underpaid\(uint256 sent, uint256 required\)/);
    await assert.rejects(gardener.write.ask([input], { value: 1n, account: caller.account }));
  });

  it("gives the money back when nobody answers", async () => {
    const requestId = await ask();
    await oracle.write.expire([requestId]);
    const outcome = await client.outcome(requestId);
    assert.equal(outcome.status, "refunded");
    assert.ok(outcome.status === "refunded" && outcome.fee + outcome.gasMoney === price);
  });
});
