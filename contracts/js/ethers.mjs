/** The client on ethers (6): `inferenceClient(oracle, signer)`; with a provider it only reads. */
import { Contract } from "ethers";
import { keccak256 } from "ethers";
import { inferenceOracleAbi } from "../abi/InferenceOracle.mjs";
import { modelRegistryAbi } from "../abi/ModelRegistry.mjs";
import { InferenceClient } from "./client.mjs";
import { InferenceError } from "./errors.mjs";
export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";
/** An oracle, for an account or for a reader. */
export function inferenceClient(oracle, runner) {
    return new InferenceClient(new EthersChain(oracle, runner));
}
class EthersChain {
    oracle;
    keccak256 = (data) => keccak256(data);
    #runner;
    #contract;
    #registry;
    constructor(oracle, runner) {
        this.oracle = oracle;
        this.#runner = runner;
        this.#contract = new Contract(oracle, inferenceOracleAbi, runner);
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
            throw new InferenceError("USAGE", "the endpoint knows no block");
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
            throw new InferenceError("REQUEST_UNKNOWN", `${transactionHash} is not mined`);
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
        return new Contract(address, modelRegistryAbi, this.#runner);
    }
    #signer() {
        if ("signTypedData" in this.#runner)
            return this.#runner;
        throw new InferenceError("USAGE", "the client has no account: give it a signer");
    }
    #provider() {
        const provider = this.#runner.provider;
        if (provider === null)
            throw new InferenceError("USAGE", "the signer has no provider");
        return provider;
    }
}
