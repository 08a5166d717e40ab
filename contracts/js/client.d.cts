/** Ask a model, wait for its proved answer, decode it: the same for ethers and viem. */
import { type Envelope, type TypedData } from "./signed.cjs";
import { type Encoding, type Hex, type Integer, type Tensor } from "./tensor.cjs";
/** Seconds that a request of one row leaves for an answer unless told otherwise. */
export declare const LIFETIME = 3600n;
/** Least and most that it can leave: the next block has to come first, and 30 days. */
export declare const MIN_LIFETIME = 30n;
export declare const MAX_LIFETIME = 2592000n;
/** Milliseconds to wait for an answer unless told otherwise, and between two looks. */
export declare const TIMEOUT = 120000;
export declare const POLLING_INTERVAL = 1000;
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
export type Outcome = Answer | Refund | {
    readonly status: "open" | "unknown";
    readonly requestId: bigint;
};
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
export declare class InferenceClient {
    #private;
    readonly chain: Chain;
    constructor(chain: Chain);
    /** How a model takes numbers and gives them; registered models do not change. */
    model(modelId: Integer): Promise<Model>;
    /** Wei to send along: fee and gas money at twice the present base fee. The rest comes back. */
    estimateCost(modelId: Integer, { rows, callbackGas }?: {
        rows?: number;
        callbackGas?: Integer;
    }): Promise<bigint>;
    /** Ask without a callback; ends when the request is mined. */
    request(modelId: Integer, values: Values, options?: Asking): Promise<Asked>;
    /** The requests that a mined transaction made, those of a contract of yours for one. */
    requestsOf(transactionHash: Hex): Promise<Asked[]>;
    /** Ask, and wait for the proved answer; `onRequest` has the id as soon as there is one. */
    requestAndWait(modelId: Integer, values: Values, options?: Asking & Waiting & {
        readonly onRequest?: (asked: Asked) => void;
    }): Promise<Answer>;
    /** Where a request stands, anybody's; with the numbers of its answer, if there is one. */
    outcome(id: RequestId, { fromBlock }?: Looking): Promise<Outcome>;
    /**
     * The proved answer, when it is there.
     *
     * Throws InferenceError: REQUEST_REFUNDED when none can come, REQUEST_TIMEOUT, REQUEST_UNKNOWN.
     */
    wait(id: RequestId, options?: Waiting): Promise<Answer>;
    /** Sign a request of one row that somebody else submits, paid from the account's credit. */
    signRequest(modelId: Integer, values: Row, options?: Signing): Promise<Envelope>;
}
