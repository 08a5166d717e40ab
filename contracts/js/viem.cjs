"use strict";
/** The client on viem (2): `inferenceClient(oracle, client)`; without an account it only reads. */
var __createBinding = (this && this.__createBinding) || (Object.create ? (function(o, m, k, k2) {
    if (k2 === undefined) k2 = k;
    var desc = Object.getOwnPropertyDescriptor(m, k);
    if (!desc || ("get" in desc ? !m.__esModule : desc.writable || desc.configurable)) {
      desc = { enumerable: true, get: function() { return m[k]; } };
    }
    Object.defineProperty(o, k2, desc);
}) : (function(o, m, k, k2) {
    if (k2 === undefined) k2 = k;
    o[k2] = m[k];
}));
var __exportStar = (this && this.__exportStar) || function(m, exports) {
    for (var p in m) if (p !== "default" && !Object.prototype.hasOwnProperty.call(exports, p)) __createBinding(exports, m, p);
};
Object.defineProperty(exports, "__esModule", { value: true });
exports.inferenceClient = inferenceClient;
const viem_1 = require("viem");
const actions_1 = require("viem/actions");
const InferenceOracle_cjs_1 = require("../abi/InferenceOracle.cjs");
const ModelRegistry_cjs_1 = require("../abi/ModelRegistry.cjs");
const client_cjs_1 = require("./client.cjs");
const errors_cjs_1 = require("./errors.cjs");
__exportStar(require("./client.cjs"), exports);
__exportStar(require("./errors.cjs"), exports);
__exportStar(require("./signed.cjs"), exports);
__exportStar(require("./tensor.cjs"), exports);
/** An oracle; `wallet` signs and pays, where it is another client than the one that reads. */
function inferenceClient(oracle, client, wallet = client) {
    return new client_cjs_1.InferenceClient(new ViemChain(oracle, client, wallet));
}
class ViemChain {
    oracle;
    keccak256 = (data) => (0, viem_1.keccak256)(data);
    #client;
    #wallet;
    #contract;
    #registry;
    constructor(oracle, client, wallet) {
        this.oracle = oracle;
        this.#client = client;
        this.#wallet = wallet;
        this.#contract = { address: oracle, abi: InferenceOracle_cjs_1.inferenceOracleAbi };
    }
    async chainId() {
        return BigInt(await (0, actions_1.getChainId)(this.#client));
    }
    async account() {
        return this.#account().address;
    }
    async now() {
        return (await (0, actions_1.getBlock)(this.#client)).timestamp;
    }
    oracleView(functionName, args) {
        return (0, actions_1.readContract)(this.#client, { ...this.#contract, functionName, args });
    }
    async getModel(modelId) {
        this.#registry ??= this.oracleView("registry", []);
        return (0, actions_1.readContract)(this.#client, {
            address: await this.#registry,
            abi: ModelRegistry_cjs_1.modelRegistryAbi,
            functionName: "getModel",
            args: [modelId],
        });
    }
    async send(functionName, args, value) {
        const call = { ...this.#contract, functionName, args, value, account: this.#account() };
        // Before the transaction: its refusal has the contract's error by name.
        await (0, actions_1.simulateContract)(this.#client, call);
        const hash = await (0, actions_1.writeContract)(this.#wallet, { ...call, chain: this.#wallet.chain ?? null });
        const { status } = await (0, actions_1.waitForTransactionReceipt)(this.#client, { hash });
        if (status === "success")
            return hash;
        throw new errors_cjs_1.InferenceError("TRANSACTION_REVERTED", `the transaction ${hash} reverted`);
    }
    async mined(hash, eventName) {
        const { logs } = await (0, actions_1.getTransactionReceipt)(this.#client, { hash });
        const ours = logs.filter((log) => log.address.toLowerCase() === this.oracle.toLowerCase());
        return (0, viem_1.parseEventLogs)({ abi: this.#contract.abi, eventName, logs: ours }).map(plain);
    }
    async events(eventName, requestId, fromBlock) {
        const args = { requestId };
        const how = { ...this.#contract, eventName, args, fromBlock, strict: true };
        return (await (0, actions_1.getContractEvents)(this.#client, how)).map(plain);
    }
    signTypedData(data) {
        return (0, actions_1.signTypedData)(this.#wallet, { account: this.#account(), ...data });
    }
    #account() {
        const { account } = this.#wallet;
        if (account === undefined) {
            throw new errors_cjs_1.InferenceError("USAGE", "the client has no account: give it a wallet");
        }
        return account;
    }
}
function plain({ args, blockNumber, transactionHash }) {
    if (blockNumber === null || transactionHash === null) {
        throw new errors_cjs_1.InferenceError("REQUEST_UNKNOWN", "the log is of no block yet");
    }
    return { args: args, blockNumber, transactionHash };
}
