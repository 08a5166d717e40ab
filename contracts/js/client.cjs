"use strict";
/** Ask a model, wait for its proved answer, decode it: the same for ethers and viem. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.InferenceClient = exports.POLLING_INTERVAL = exports.TIMEOUT = exports.MAX_LIFETIME = exports.MIN_LIFETIME = exports.LIFETIME = void 0;
const errors_cjs_1 = require("./errors.cjs");
const rows_cjs_1 = require("./rows.cjs");
const signed_cjs_1 = require("./signed.cjs");
const tensor_cjs_1 = require("./tensor.cjs");
/** Seconds that a request of one row leaves for an answer unless told otherwise. */
exports.LIFETIME = 3600n;
/** Least and most that it can leave: the next block has to come first, and 30 days. */
exports.MIN_LIFETIME = 30n;
exports.MAX_LIFETIME = 2592000n;
/** Milliseconds to wait for an answer unless told otherwise, and between two looks. */
exports.TIMEOUT = 120_000;
exports.POLLING_INTERVAL = 1_000;
/** Longest pause of a timer; a longer one would end at once. */
const MAX_PAUSE = 2 ** 31 - 1;
const NOBODY = `0x${"00".repeat(20)}`;
const OPEN = 1;
const FULFILLED = 2;
const REFUNDED = 3;
/** Requests of an account, and the answers to anybody's. */
class InferenceClient {
    chain;
    #models = new Map();
    constructor(chain) {
        this.chain = chain;
    }
    /** How a model takes numbers and gives them; registered models do not change. */
    model(modelId) {
        const id = BigInt(modelId);
        const known = this.#models.get(id);
        if (known !== undefined)
            return known;
        const read = this.#read(id);
        this.#models.set(id, read);
        read.catch(() => this.#models.delete(id));
        return read;
    }
    /** Wei to send along: fee and gas money at twice the present base fee. The rest comes back. */
    async estimateCost(modelId, { rows = 1, callbackGas = 0n } = {}) {
        const asked = [BigInt(modelId), BigInt(callbackGas)];
        const quote = rows === 1
            ? this.chain.oracleView("estimateFee", asked)
            : this.chain.oracleView("estimateFeeBatch", [...asked, BigInt(rows)]);
        return (await quote);
    }
    /** Ask without a callback; ends when the request is mined. */
    async request(modelId, values, options = {}) {
        const id = BigInt(modelId);
        const rows = rowsOf(values);
        const input = await this.#encode(id, rows, options);
        const value = options.value ?? (await this.estimateCost(id, { rows: rows.length }));
        let call;
        if (rows.length === 1) {
            const refundTo = options.refundTo ?? (await this.chain.account());
            const deadline = await this.#in(options.lifetime ?? exports.LIFETIME);
            call = ["request", [id, input, NOBODY, 0n, "0x", refundTo, deadline]];
        }
        else if (options.lifetime === undefined && options.refundTo === undefined) {
            const asked = [BigInt(rows.length), id, input, NOBODY, 0n, "0x", 0, 0];
            call = ["requestBatchInference", asked];
        }
        else {
            throw new errors_cjs_1.InferenceError("USAGE", "several rows have the contract's lifetime and refund");
        }
        const [asked] = await this.requestsOf(await this.chain.send(...call, value));
        if (asked === undefined) {
            throw new errors_cjs_1.InferenceError("REQUEST_UNKNOWN", "the transaction made no request");
        }
        return asked;
    }
    /** The requests that a mined transaction made, those of a contract of yours for one. */
    async requestsOf(transactionHash) {
        const [asked, opened] = await Promise.all([
            this.chain.mined(transactionHash, "AICallbackRequest"),
            this.chain.mined(transactionHash, "RequestOpened"),
        ]);
        const deadlines = new Map(opened.map(({ args }) => [args["requestId"], args["deadline"]]));
        return asked.map(({ args, blockNumber }) => ({
            requestId: args["requestId"],
            modelId: args["modelId"],
            deadline: deadlines.get(args["requestId"]),
            blockNumber,
            transactionHash,
        }));
    }
    /** Ask, and wait for the proved answer; `onRequest` has the id as soon as there is one. */
    async requestAndWait(modelId, values, options = {}) {
        // Before anything is paid for.
        checkWaiting(options);
        const asked = await this.request(modelId, values, options);
        options.onRequest?.(asked);
        return this.wait(asked.requestId, { fromBlock: asked.blockNumber, ...options });
    }
    /** Where a request stands, anybody's; with the numbers of its answer, if there is one. */
    async outcome(id, { fromBlock = 0n } = {}) {
        const requestId = readId(id);
        const status = Number(await this.chain.oracleView("status", [requestId]));
        const found = status === FULFILLED
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
    async wait(id, options = {}) {
        const requestId = readId(id);
        checkWaiting(options);
        const { timeout = exports.TIMEOUT, pollingInterval = exports.POLLING_INTERVAL, signal, ...looking } = options;
        const name = `0x${requestId.toString(16).padStart(64, "0")}`;
        const end = Date.now() + timeout;
        let deadline;
        let isPast = false;
        for (;;) {
            signal?.throwIfAborted();
            const found = await this.outcome(requestId, looking);
            if (found.status === "fulfilled")
                return found;
            if (found.status === "refunded") {
                const to = `its money is credit of ${found.refundTo}`;
                throw new errors_cjs_1.InferenceError("REQUEST_REFUNDED", `nobody answered ${name} in time; ${to}`);
            }
            if (found.status === "unknown") {
                throw new errors_cjs_1.InferenceError("REQUEST_UNKNOWN", `this oracle has no request ${name}`);
            }
            if (isPast || Date.now() >= end) {
                const when = isPast ? "by its deadline" : `after ${timeout} ms`;
                throw new errors_cjs_1.InferenceError("REQUEST_TIMEOUT", `request ${name} has no answer ${when}`);
            }
            deadline ??= await this.#deadline(requestId, looking);
            // Whatever was mined before that is there at the next look.
            if (deadline !== undefined && (await this.chain.now()) > deadline)
                isPast = true;
            else {
                const rest = Math.max(end - Date.now(), 0);
                await pause(Math.min(pollingInterval, rest, MAX_PAUSE), signal);
            }
        }
    }
    /** Sign a request of one row that somebody else submits, paid from the account's credit. */
    async signRequest(modelId, values, options = {}) {
        const id = BigInt(modelId);
        if (options.refundTo !== undefined && /^0x0*$/i.test(options.refundTo)) {
            throw new errors_cjs_1.InferenceError("USAGE", "the zero address cannot be credited: name another refundTo");
        }
        const input = await this.#encode(id, [(0, rows_cjs_1.rowOf)(values)], options);
        const account = await this.chain.account();
        const deadline = await this.#in(options.lifetime ?? exports.LIFETIME);
        const message = {
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
        const data = (0, signed_cjs_1.signedRequestTypedData)(await this.chain.chainId(), this.chain.oracle, message);
        return (0, signed_cjs_1.envelope)(data, input, "0x", await this.chain.signTypedData(data));
    }
    /** The second that is so far away. */
    async #in(lifetime) {
        const seconds = Number(lifetime);
        if (!(Number.isInteger(seconds) && seconds >= exports.MIN_LIFETIME && seconds <= exports.MAX_LIFETIME)) {
            const bounds = `${exports.MIN_LIFETIME} to ${exports.MAX_LIFETIME} (30 days)`;
            throw new errors_cjs_1.InferenceError("USAGE", `a request lives for whole seconds from ${bounds}`);
        }
        const [latest, here] = [await this.chain.now(), BigInt(Math.floor(Date.now() / 1_000))];
        const life = BigInt(lifetime);
        // A chain that mines on demand has no block of now: its next one is later than its last.
        const isBehind = latest < here && here <= latest + exports.MAX_LIFETIME - life;
        return (isBehind ? here : latest) + life;
    }
    async #read(modelId) {
        const { codec, input, output } = await this.chain.getModel(modelId);
        return { modelId, codec: Number(codec), input, output };
    }
    async #encode(modelId, rows, { ranges }) {
        const { input, codec } = await this.model(modelId);
        const how = ranges === undefined ? { codec } : { codec, ranges };
        const [first] = rows;
        return rows.length === 1 && first ? (0, tensor_cjs_1.encode)(first, input, how) : (0, tensor_cjs_1.encodeRows)(rows, input, how);
    }
    async #answer(requestId, fromBlock) {
        const [asked, answered, paid] = await Promise.all(["AICallbackRequest", "AICallbackResult", "RequestFulfilled"].map((name) => this.#last(name, requestId, fromBlock)));
        if (answered === undefined || paid === undefined)
            return undefined;
        if (asked === undefined) {
            throw new errors_cjs_1.InferenceError("REQUEST_UNKNOWN", `there is no such request since ${fromBlock}`);
        }
        const { modelId, codec, output: shape } = await this.model(asked.args["modelId"]);
        const output = answered.args["output"];
        const rows = (0, tensor_cjs_1.decodeRows)(output, shape, { codec });
        return {
            status: "fulfilled",
            requestId,
            modelId,
            rows,
            values: rows[0],
            output,
            payee: paid.args["payee"],
            callbackSucceeded: paid.args["callbackSucceeded"],
            blockNumber: answered.blockNumber,
            transactionHash: answered.transactionHash,
        };
    }
    async #refund(requestId, fromBlock) {
        const ended = await this.#last("RequestRefunded", requestId, fromBlock);
        return (ended && {
            status: "refunded",
            requestId,
            refundTo: ended.args["refundTo"],
            fee: ended.args["fee"],
            gasMoney: ended.args["gasMoney"],
            blockNumber: ended.blockNumber,
            transactionHash: ended.transactionHash,
        });
    }
    async #deadline(requestId, { fromBlock = 0n }) {
        const opened = await this.#last("RequestOpened", requestId, fromBlock);
        return opened?.args["deadline"];
    }
    async #last(name, id, fromBlock) {
        return (await this.chain.events(name, id, fromBlock)).at(-1);
    }
}
exports.InferenceClient = InferenceClient;
/** An id of either form as the number that logs are found by. */
function readId(id) {
    const isText = typeof id === "string" && /^(0x[0-9a-f]{1,64}|[0-9]{1,78})$/i.test(id);
    const number = isText || typeof id === "bigint" ? BigInt(id) : -1n;
    if (number >= 0n && number < 1n << 256n)
        return number;
    throw new errors_cjs_1.InferenceError("USAGE", `${String(id)} is not a request id`);
}
/** Throw unless one can wait so. */
function checkWaiting({ timeout = exports.TIMEOUT, pollingInterval = 0, signal }) {
    for (const [name, time] of Object.entries({ timeout, pollingInterval })) {
        if (typeof time !== "number" || !(time >= 0)) {
            const shown = typeof time === "string" ? JSON.stringify(time) : String(time);
            throw new errors_cjs_1.InferenceError("USAGE", `${shown} is not a time to wait: ${name} is milliseconds`);
        }
    }
    signal?.throwIfAborted();
}
function rowsOf(values) {
    const list = (0, rows_cjs_1.rowOf)(values);
    const isNested = typeof list[0] === "object" && list[0] !== null;
    return (isNested ? list.map((row) => (0, rows_cjs_1.rowOf)(row)) : [list]);
}
function randomNonce() {
    const words = globalThis.crypto.getRandomValues(new BigUint64Array(4));
    return words.reduce((number, word) => (number << 64n) | word, 0n);
}
/** Wait; an abort ends the wait, and the caller looks at the signal again. */
function pause(milliseconds, signal) {
    return new Promise((resolve) => {
        const done = () => {
            clearTimeout(timer);
            signal?.removeEventListener("abort", done);
            resolve();
        };
        const timer = setTimeout(done, milliseconds);
        signal?.addEventListener("abort", done);
    });
}
