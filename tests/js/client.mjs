// The client on ethers or viem: LIBRARY RPC ORACLE KEY. A line of stdin is a call, {id, method, args}
// in JSON; a line of stdout says what came of it.
import { createInterface } from "node:readline";

const [library, url, oracle, key] = process.argv.slice(2);
const { inferenceClient, InferenceError } = await import(`@verifiable-inference/contracts/${library}`);

async function withEthers() {
  const { JsonRpcProvider, Wallet } = await import("ethers");
  const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 50 });
  return inferenceClient(oracle, key ? new Wallet(key, provider) : provider);
}

async function withViem() {
  const { createPublicClient, createWalletClient, http } = await import("viem");
  const { privateKeyToAccount } = await import("viem/accounts");
  const [transport, pollingInterval] = [http(url), 50];
  const reader = createPublicClient({ transport, pollingInterval });
  if (!key) return inferenceClient(oracle, reader);
  const account = privateKeyToAccount(key);
  return inferenceClient(oracle, reader, createWalletClient({ account, transport }));
}

// What a contract refused with, as each library says it.
function reverted(error) {
  const viem = error.walk?.((each) => each.name === "ContractFunctionRevertedError")?.data;
  const found = viem ? { name: viem.errorName, args: viem.args } : error.revert;
  return found && { name: found.name, args: [...(found.args ?? [])] };
}

const revive = (_, value) =>
  typeof value?.n === "string" ? BigInt(value.n) : value === "Infinity" ? Infinity : value;
const plain = (_, value) => (typeof value === "bigint" ? value.toString() : value);
const client = library === "ethers" ? await withEthers() : await withViem();

// How often the client has looked where a request stands.
let looks = 0;
const { outcome: look } = client;
client.outcome = (...args) => {
  looks += 1;
  return look.apply(client, args);
};

async function outcome(method, args) {
  try {
    if (method === "looks") return { value: looks };
    return { value: await client[method](...args) };
  } catch (error) {
    const refused = reverted(error);
    if (refused) return { reverted: refused };
    if (error instanceof InferenceError) return { code: error.code, message: error.message };
    return { unexpected: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, args } = JSON.parse(line, revive);
  const place = { wait: 1, requestAndWait: 2 }[method];
  if (place) {
    const { abortAfter, aborted, ...options } = args[place] ?? {};
    const signal = aborted ? AbortSignal.abort() : abortAfter && AbortSignal.timeout(abortAfter);
    args[place] = { pollingInterval: 50, ...options, ...(signal && { signal }) };
  }
  // Several may be under way: who waits is answered meanwhile.
  outcome(method, args).then((said) => console.log(JSON.stringify({ id, ...said }, plain)));
}
process.exit(0);
