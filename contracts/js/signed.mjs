/** Requests that one account signs (EIP-712) and anybody submits: `requestFor` of the oracle. */
/** The EIP-712 types, in the order of the contract's type hash. */
export const signedRequestTypes = {
    SignedRequest: [
        { name: "account", type: "address" },
        { name: "modelId", type: "uint256" },
        { name: "inputHash", type: "bytes32" },
        { name: "callbackContract", type: "address" },
        { name: "callbackGas", type: "uint64" },
        { name: "callbackDataHash", type: "bytes32" },
        { name: "refundTo", type: "address" },
        { name: "deadline", type: "uint64" },
        { name: "maxCost", type: "uint96" },
        { name: "relayerTip", type: "uint96" },
        { name: "nonce", type: "uint256" },
        { name: "validUntil", type: "uint64" },
    ],
};
export function signedRequestDomain(chainId, oracle) {
    const [name, version] = ["InferenceOracle", "1"];
    return { name, version, chainId: BigInt(chainId), verifyingContract: oracle };
}
export function signedRequestTypedData(chainId, oracle, message) {
    const domain = signedRequestDomain(chainId, oracle);
    return { domain, types: signedRequestTypes, primaryType: "SignedRequest", message };
}
export function envelope({ domain, message }, input, callbackData, signature) {
    const fields = Object.entries(message).map(([name, value]) => [name, String(value)]);
    return {
        chainId: String(domain.chainId),
        oracle: domain.verifyingContract,
        request: Object.fromEntries(fields),
        input,
        callbackData,
        signature,
    };
}
