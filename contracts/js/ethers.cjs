"use strict";
/** The client on ethers (6): `inferenceClient(oracle, signer)`; with a provider it only reads. */
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
const ethers_1 = require("ethers");
const ethers_2 = require("ethers");
const InferenceOracle_cjs_1 = require("../abi/InferenceOracle.cjs");
const ModelRegistry_cjs_1 = require("../abi/ModelRegistry.cjs");
const client_cjs_1 = require("./client.cjs");
const errors_cjs_1 = require("./errors.cjs");
__exportStar(require("./client.cjs"), exports);
__exportStar(require("./errors.cjs"), exports);
__exportStar(require("./signed.cjs"), exports);
__exportStar(require("./tensor.cjs"), exports);
/** An oracle, for an account or for a reader. */
function inferenceClient(oracle, runner) {
    return new client_cjs_1.InferenceClient(new EthersChain(oracle, runner));
}
class EthersChain {
    oracle;
    keccak256 = (data) => (0, ethers_2.keccak256)(data);
    #runner;
    #contract;
    #registry;
    constructor(oracle, runner) {
        this.oracle = oracle;
        this.#runner = runner;
        this.#contract = new ethers_1.Contract(oracle, InferenceOracle_cjs_1.inferenceOracleAbi, runner);
    }
    async chainId() {
        return (await this.#provider().getNetwork()).chainId;
    }
    async account() {
        return (await this.#signer().getAddress());
    }
    async now() {
        const block = await this.#provider().getBlock("latest");
        if (block === null)
            throw new errors_cjs_1.InferenceError("USAGE", "the endpoint knows no block");
        return BigInt(block.timestamp);
    }
    oracleView(name, args) {
        return this.#contract.getFunction(name).staticCall(...args);
    }
    async getModel(modelId) {
        this.#registry ??= this.#registryContract();
        const found = await (await this.#registry).getFunction("getModel").staticCall(modelId);
        const [input, output] = ["input", "output"].map((name) => found.getValue(name).toObject());
        return { codec: found.getValue("codec"), input: input, output: output };
    }
    async send(name, args, value) {
        this.#signer();
        const call = this.#contract.getFunction(name);
        // Before the transaction: only a call's refusal has the contract's error by name.
        await call.staticCall(...args, { value });
        const sent = await call.send(...args, { value });
        await sent.wait();
        return sent.hash;
    }
    async mined(transactionHash, name) {
        const receipt = await this.#provider().getTransactionReceipt(transactionHash);
        if (receipt === null) {
            throw new errors_cjs_1.InferenceError("REQUEST_UNKNOWN", `${transactionHash} is not mined`);
        }
        const address = (await this.#contract.getAddress()).toLowerCase();
        const found = [];
        for (const log of receipt.logs) {
            if (log.address.toLowerCase() !== address)
                continue;
            const parsed = this.#contract.interface.parseLog(log);
            if (parsed?.name === name) {
                const blockNumber = BigInt(log.blockNumber);
                found.push({ args: parsed.args.toObject(), blockNumber, transactionHash });
            }
        }
        return found;
    }
    async events(name, requestId, from) {
        const inputs = this.#contract.interface.getEvent(name)?.inputs ?? [];
        const place = inputs.findIndex((input) => input.name === "requestId");
        const filter = this.#contract.getEvent(name)(...Array(place).fill(null), requestId);
        const logs = (await this.#contract.queryFilter(filter, from));
        return logs.map((log) => ({
            args: log.args.toObject(),
            blockNumber: BigInt(log.blockNumber),
            transactionHash: log.transactionHash,
        }));
    }
    async signTypedData({ domain, types, message }) {
        const fields = { SignedRequest: [...types.SignedRequest] };
        return (await this.#signer().signTypedData(domain, fields, message));
    }
    async #registryContract() {
        const address = await this.#contract.getFunction("registry").staticCall();
        return new ethers_1.Contract(address, ModelRegistry_cjs_1.modelRegistryAbi, this.#runner);
    }
    #signer() {
        if ("signTypedData" in this.#runner)
            return this.#runner;
        throw new errors_cjs_1.InferenceError("USAGE", "the client has no account: give it a signer");
    }
    #provider() {
        const provider = this.#runner.provider;
        if (provider === null)
            throw new errors_cjs_1.InferenceError("USAGE", "the signer has no provider");
        return provider;
    }
}
