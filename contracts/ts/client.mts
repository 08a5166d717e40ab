/** Ask a model, wait for its proved answer, decode it: the same for ethers and viem. */

import { InferenceError } from "./errors.mjs";
import { rowOf } from "./rows.mjs";
import { type Envelope, type SignedRequest, type TypedData } from "./signed.mjs";
import { envelope, signedRequestTypedData } from "./signed.mjs";
import { type Encoding, type Hex, type Integer, type Tensor } from "./tensor.mjs";
import { decodeRows, encode, encodeRows } from "./tensor.mjs";

/** Seconds that a request of one row leaves for an answer unless told otherwise. */
export const LIFETIME = 3_600n;
/** Least and most that it can leave: the next block has to come first, and 30 days. */
export const MIN_LIFETIME = 30n;
export const MAX_LIFETIME = 2_592_000n;
/** Milliseconds to wait for an answer unless told otherwise, and between two looks. */
export const TIMEOUT = 120_000;
export const POLLING_INTERVAL = 1_000;
/** Longest pause of a timer; a longer one would end at once. */
const MAX_PAUSE = 2 ** 31 - 1;

const NOBODY: Hex = `0x${"00".repeat(20)}`;
const OPEN = 1;
const FULFILLED = 2;
const REFUNDED = 3;

/** An event of the oracle. */
export interface OracleEvent {
  readonly args: Readonly<Record<string, unknown>>;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** What the client needs of a library; `ethersChain` and `viemChain` are it. */
export interface Chain {
  /** The oracle's address. */
  readonly oracle: Hex;
  chainId(): Promise<bigint>;
  /** The account that pays or signs. */
  account(): Promise<Hex>;
  /** Seconds since the epoch, by the latest block. */
  now(): Promise<bigint>;
  keccak256(data: Hex): Hex;
  /** Call a view of the oracle. */
  oracleView(name: string, args: readonly unknown[]): Promise<unknown>;
  /** The registry's `getModel`, with its fields by name. */
  getModel(modelId: bigint): Promise<RegistryModel>;
  /** Send a transaction to the oracle; its hash, when it is mined and did not revert. */
  send(name: string, args: readonly unknown[], value: bigint): Promise<Hex>;
  /** The oracle's events of one name in a mined transaction. */
  mined(transactionHash: Hex, name: string): Promise<readonly OracleEvent[]>;
  /** The oracle's events of one name about one request. */
  events(name: string, requestId: bigint, fromBlock: bigint): Promise<readonly OracleEvent[]>;
  signTypedData(data: TypedData): Promise<Hex>;
}

/** What is read of the registry's `Model`. */
export interface RegistryModel {
  readonly codec: Integer;
  readonly input: Tensor;
  readonly output: Tensor;
}

/** How a model takes its numbers and gives them. */
export interface Model {
  readonly modelId: bigint;
  /** 0 packed, 1 text. */
  readonly codec: number;
  readonly input: Tensor;
  readonly output: Tensor;
}

/** One row of numbers, a typed array for one. */
export type Row = Iterable<Integer>;

/** One row, or several that one proof answers. */
export type Values = Row | Iterable<Row>;

/** A request's id: a number, or its text in hex with 0x or in decimal. */
export type RequestId = bigint | string;

/** A request that was mined. */
export interface Asked {
  readonly requestId: bigint;
  readonly modelId: bigint;
  /** Last second at which it can be answered; from then on its money comes back. */
  readonly deadline: bigint;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** A proved answer. */
export interface Answer {
  readonly status: "fulfilled";
  readonly requestId: bigint;
  readonly modelId: bigint;
  /** The numbers, row by row. */
  readonly rows: number[][];
  /** Those of the first row, of most requests the only one. */
  readonly values: number[];
  /** As the contract delivered it. */
  readonly output: Hex;
  /** Who was paid for the proof. */
  readonly payee: Hex;
  /** False where there was a callback and it failed; `retryCallback` makes it again. */
  readonly callbackSucceeded: boolean;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** Nobody answered in time, and the money went back. */
export interface Refund {
  readonly status: "refunded";
  readonly requestId: bigint;
  /** Whose credit it is now; `withdrawTo` pays it out. */
  readonly refundTo: Hex;
  /** In the model's currency, and in wei. */
  readonly fee: bigint;
  readonly gasMoney: bigint;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** Where a request stands. */
export type Outcome =
  | Answer
  | Refund
  | { readonly status: "open" | "unknown"; readonly requestId: bigint };

export interface Asking {
  /** Seconds until its money can be asked back; of several rows the contract's own, a day. */
  readonly lifetime?: Integer;
  /** Who gets unspent money, for one row; by default the account. */
  readonly refundTo?: Hex;
  /** Wei to send; by default `estimateCost`. */
  readonly value?: bigint;
  /** Ranges of the elements, where the model has an `inputChecker`. */
  readonly ranges?: Encoding["ranges"];
}

export interface Looking {
  /** Where to begin to look for the request's events; the block of the request is enough. */
  readonly fromBlock?: bigint;
}

export interface Waiting extends Looking {
  /** Milliseconds; Infinity waits until the request's deadline has passed. */
  readonly timeout?: number;
  readonly pollingInterval?: number;
  /** Ends the wait with the signal's reason; the request stays. */
  readonly signal?: AbortSignal;
}

export interface Signing extends Pick<Asking, "lifetime" | "refundTo" | "ranges"> {
  /** Most wei for gas money and fee; by default what `estimateCost` says now. */
  readonly maxCost?: bigint;
  /** Wei for whoever submits it. */
  readonly relayerTip?: bigint;
  /** Any number that the account has not used; by default a random one. */
  readonly nonce?: bigint;
  /** Seconds in which it may be submitted; by default those of `lifetime`. */
  readonly validFor?: Integer;
}

/** Requests of an account, and the answers to anybody's. */
export class InferenceClient {
  readonly chain: Chain;
  readonly #models = new Map<bigint, Promise<Model>>();

  constructor(chain: Chain) {
    this.chain = chain;
  }

  /** How a model takes numbers and gives them; registered models do not change. */
  model(modelId: Integer): Promise<Model> {
    const id = BigInt(modelId);
    const known = this.#models.get(id);
    if (known !== undefined) return known;
    const read = this.#read(id);
    this.#models.set(id, read);
    read.catch(() => this.#models.delete(id));
    return read;
  }

  /** Wei to send along: fee and gas money at twice the present base fee. The rest comes back. */
  async estimateCost(
    modelId: Integer,
    { rows = 1, callbackGas = 0n }: { rows?: number; callbackGas?: Integer } = {},
  ): Promise<bigint> {
    const asked = [BigInt(modelId), BigInt(callbackGas)];
    const quote =
      rows === 1
        ? this.chain.oracleView("estimateFee", asked)
        : this.chain.oracleView("estimateFeeBatch", [...asked, BigInt(rows)]);
    return (await quote) as bigint;
  }

  /** Ask without a callback; ends when the request is mined. */
  async request(modelId: Integer, values: Values, options: Asking = {}): Promise<Asked> {
    const id = BigInt(modelId);
    const rows = rowsOf(values);
    const input = await this.#encode(id, rows, options);
    const value = options.value ?? (await this.estimateCost(id, { rows: rows.length }));
    let call: [string, unknown[]];
    if (rows.length === 1) {
      const refundTo = options.refundTo ?? (await this.chain.account());
      const deadline = await this.#in(options.lifetime ?? LIFETIME);
      call = ["request", [id, input, NOBODY, 0n, "0x", refundTo, deadline]];
    } else if (options.lifetime === undefined && options.refundTo === undefined) {
      const asked = [BigInt(rows.length), id, input, NOBODY, 0n, "0x", 0, 0];
      call = ["requestBatchInference", asked];
    } else {
      throw new InferenceError("USAGE", "several rows have the contract's lifetime and refund");
    }
    const [asked] = await this.requestsOf(await this.chain.send(...call, value));
    if (asked === undefined) {
      throw new InferenceError("REQUEST_UNKNOWN", "the transaction made no request");
    }
    return asked;
  }

  /** The requests that a mined transaction made, those of a contract of yours for one. */
  async requestsOf(transactionHash: Hex): Promise<Asked[]> {
    const [asked, opened] = await Promise.all([
      this.chain.mined(transactionHash, "AICallbackRequest"),
      this.chain.mined(transactionHash, "RequestOpened"),
    ]);
    const deadlines = new Map(opened.map(({ args }) => [args["requestId"], args["deadline"]]));
    return asked.map(({ args, blockNumber }) => ({
      requestId: args["requestId"] as bigint,
      modelId: args["modelId"] as bigint,
      deadline: deadlines.get(args["requestId"]) as bigint,
      blockNumber,
      transactionHash,
    }));
  }

  /** Ask, and wait for the proved answer; `onRequest` has the id as soon as there is one. */
  async requestAndWait(
    modelId: Integer,
    values: Values,
    options: Asking & Waiting & { readonly onRequest?: (asked: Asked) => void } = {},
  ): Promise<Answer> {
    // Before anything is paid for.
    checkWaiting(options);
    const asked = await this.request(modelId, values, options);
    options.onRequest?.(asked);
    return this.wait(asked.requestId, { fromBlock: asked.blockNumber, ...options });
  }

  /** Where a request stands, anybody's; with the numbers of its answer, if there is one. */
  async outcome(id: RequestId, { fromBlock = 0n }: Looking = {}): Promise<Outcome> {
    const requestId = readId(id);
    const status = Number(await this.chain.oracleView("status", [requestId]));
    const found =
      status === FULFILLED
        ? await this.#answer(requestId, fromBlock)
        : status === REFUNDED
          ? await this.#refund(requestId, fromBlock)
          : undefined;
    // An endpoint's logs may be behind its state: then it is open for a moment longer.
    return found ?? { status: status >= OPEN ? "open" : "unknown", requestId };
  }

  /**
   * The proved answer, when it is there.
   *
   * Throws InferenceError: REQUEST_REFUNDED when none can come, REQUEST_TIMEOUT, REQUEST_UNKNOWN.
   */
  async wait(id: RequestId, options: Waiting = {}): Promise<Answer> {
    const requestId = readId(id);
    checkWaiting(options);
    const { timeout = TIMEOUT, pollingInterval = POLLING_INTERVAL, signal, ...looking } = options;
    const name = `0x${requestId.toString(16).padStart(64, "0")}`;
    const end = Date.now() + timeout;
    let deadline: bigint | undefined;
    let isPast = false;
    for (;;) {
      signal?.throwIfAborted();
      const found = await this.outcome(requestId, looking);
      if (found.status === "fulfilled") return found;
      if (found.status === "refunded") {
        const to = `its money is credit of ${found.refundTo}`;
        throw new InferenceError("REQUEST_REFUNDED", `nobody answered ${name} in time; ${to}`);
      }
      if (found.status === "unknown") {
        throw new InferenceError("REQUEST_UNKNOWN", `this oracle has no request ${name}`);
      }
      if (isPast || Date.now() >= end) {
        const when = isPast ? "by its deadline" : `after ${timeout} ms`;
        throw new InferenceError("REQUEST_TIMEOUT", `request ${name} has no answer ${when}`);
      }
      deadline ??= await this.#deadline(requestId, looking);
      // Whatever was mined before that is there at the next look.
      if (deadline !== undefined && (await this.chain.now()) > deadline) isPast = true;
      else {
        const rest = Math.max(end - Date.now(), 0);
        await pause(Math.min(pollingInterval, rest, MAX_PAUSE), signal);
      }
    }
  }

  /** Sign a request of one row that somebody else submits, paid from the account's credit. */
  async signRequest(
    modelId: Integer,
    values: Row,
    options: Signing = {},
  ): Promise<Envelope> {
    const id = BigInt(modelId);
    if (options.refundTo !== undefined && /^0x0*$/i.test(options.refundTo)) {
      throw new InferenceError("USAGE", "the zero address cannot be credited: name another refundTo");
    }
    const input = await this.#encode(id, [rowOf(values)], options);
    const account = await this.chain.account();
    const deadline = await this.#in(options.lifetime ?? LIFETIME);
    const message: SignedRequest = {
      account,
      modelId: id,
      inputHash: this.chain.keccak256(input),
      callbackContract: NOBODY,
      callbackGas: 0n,
      callbackDataHash: this.chain.keccak256("0x"),
      refundTo: options.refundTo ?? account,
      deadline,
      maxCost: options.maxCost ?? (await this.estimateCost(id)),
      relayerTip: options.relayerTip ?? 0n,
      nonce: options.nonce ?? randomNonce(),
      validUntil: options.validFor === undefined ? deadline : await this.#in(options.validFor),
    };
    const data = signedRequestTypedData(await this.chain.chainId(), this.chain.oracle, message);
    return envelope(data, input, "0x", await this.chain.signTypedData(data));
  }

  /** The second that is so far away. */
  async #in(lifetime: Integer): Promise<bigint> {
    const seconds = Number(lifetime);
    if (!(Number.isInteger(seconds) && seconds >= MIN_LIFETIME && seconds <= MAX_LIFETIME)) {
      const bounds = `${MIN_LIFETIME} to ${MAX_LIFETIME} (30 days)`;
      throw new InferenceError("USAGE", `a request lives for whole seconds from ${bounds}`);
    }
    const [latest, here] = [await this.chain.now(), BigInt(Math.floor(Date.now() / 1_000))];
    const life = BigInt(lifetime);
    // A chain that mines on demand has no block of now: its next one is later than its last.
    const isBehind = latest < here && here <= latest + MAX_LIFETIME - life;
    return (isBehind ? here : latest) + life;
  }

  async #read(modelId: bigint): Promise<Model> {
    const { codec, input, output } = await this.chain.getModel(modelId);
    return { modelId, codec: Number(codec), input, output };
  }

  async #encode(
    modelId: bigint,
    rows: readonly (readonly Integer[])[],
    { ranges }: Pick<Asking, "ranges">,
  ): Promise<Hex> {
    const { input, codec } = await this.model(modelId);
    const how = ranges === undefined ? { codec } : { codec, ranges };
    const [first] = rows;
    return rows.length === 1 && first ? encode(first, input, how) : encodeRows(rows, input, how);
  }

  async #answer(requestId: bigint, fromBlock: bigint): Promise<Answer | undefined> {
    const [asked, answered, paid] = await Promise.all(
      ["AICallbackRequest", "AICallbackResult", "RequestFulfilled"].map((name) =>
        this.#last(name, requestId, fromBlock),
      ),
    );
    if (answered === undefined || paid === undefined) return undefined;
    if (asked === undefined) {
      throw new InferenceError("REQUEST_UNKNOWN", `there is no such request since ${fromBlock}`);
    }
    const { modelId, codec, output: shape } = await this.model(asked.args["modelId"] as bigint);
    const output = answered.args["output"] as Hex;
    const rows = decodeRows(output, shape, { codec });
    return {
      status: "fulfilled",
      requestId,
      modelId,
      rows,
      values: rows[0] as number[],
      output,
      payee: paid.args["payee"] as Hex,
      callbackSucceeded: paid.args["callbackSucceeded"] as boolean,
      blockNumber: answered.blockNumber,
      transactionHash: answered.transactionHash,
    };
  }

  async #refund(requestId: bigint, fromBlock: bigint): Promise<Refund | undefined> {
    const ended = await this.#last("RequestRefunded", requestId, fromBlock);
    return (
      ended && {
        status: "refunded",
        requestId,
        refundTo: ended.args["refundTo"] as Hex,
        fee: ended.args["fee"] as bigint,
        gasMoney: ended.args["gasMoney"] as bigint,
        blockNumber: ended.blockNumber,
        transactionHash: ended.transactionHash,
      }
    );
  }

  async #deadline(requestId: bigint, { fromBlock = 0n }: Looking): Promise<bigint | undefined> {
    const opened = await this.#last("RequestOpened", requestId, fromBlock);
    return opened?.args["deadline"] as bigint | undefined;
  }

  async #last(name: string, id: bigint, fromBlock: bigint): Promise<OracleEvent | undefined> {
    return (await this.chain.events(name, id, fromBlock)).at(-1);
  }
}

/** An id of either form as the number that logs are found by. */
function readId(id: RequestId): bigint {
  const isText = typeof id === "string" && /^(0x[0-9a-f]{1,64}|[0-9]{1,78})$/i.test(id);
  const number = isText || typeof id === "bigint" ? BigInt(id) : -1n;
  if (number >= 0n && number < 1n << 256n) return number;
  throw new InferenceError("USAGE", `${String(id)} is not a request id`);
}

/** Throw unless one can wait so. */
function checkWaiting({ timeout = TIMEOUT, pollingInterval = 0, signal }: Waiting): void {
  for (const [name, time] of Object.entries({ timeout, pollingInterval })) {
    if (typeof time !== "number" || !(time >= 0)) {
      const shown = typeof time === "string" ? JSON.stringify(time) : String(time);
      throw new InferenceError("USAGE", `${shown} is not a time to wait: ${name} is milliseconds`);
    }
  }
  signal?.throwIfAborted();
}

function rowsOf(values: Values): Integer[][] {
  const list = rowOf(values as Iterable<unknown>);
  const isNested = typeof list[0] === "object" && list[0] !== null;
  return (isNested ? list.map((row) => rowOf(row as Row)) : [list]) as Integer[][];
}

function randomNonce(): bigint {
  const words = globalThis.crypto.getRandomValues(new BigUint64Array(4));
  return words.reduce((number, word) => (number << 64n) | word, 0n);
}

/** Wait; an abort ends the wait, and the caller looks at the signal again. */
function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
}
