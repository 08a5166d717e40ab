/** Requests that one account signs (EIP-712) and anybody submits: `requestFor` of the oracle. */
import type { Hex, Integer } from "./tensor.cjs";
/** What is signed; the fields are those of `IInferenceOracle.SignedRequest`. */
export interface SignedRequest {
    /** Who asks and pays, from its credit. */
    readonly account: Hex;
    readonly modelId: bigint;
    /** keccak256 of the request bytes. */
    readonly inputHash: Hex;
    /** `account`, or zero for no callback. */
    readonly callbackContract: Hex;
    readonly callbackGas: bigint;
    /** keccak256 of the callback data. */
    readonly callbackDataHash: Hex;
    /** Who is credited with unspent money. */
    readonly refundTo: Hex;
    /** Last second at which it may be answered. */
    readonly deadline: bigint;
    /** Most wei for gas money and a fee in ETH; the tip comes on top. */
    readonly maxCost: bigint;
    /** Wei for whoever submits it. */
    readonly relayerTip: bigint;
    /** Any number that the account has not used. */
    readonly nonce: bigint;
    /** Last second at which it may be submitted. */
    readonly validUntil: bigint;
}
/** The EIP-712 types, in the order of the contract's type hash. */
export declare const signedRequestTypes: {
    readonly SignedRequest: readonly [{
        readonly name: "account";
        readonly type: "address";
    }, {
        readonly name: "modelId";
        readonly type: "uint256";
    }, {
        readonly name: "inputHash";
        readonly type: "bytes32";
    }, {
        readonly name: "callbackContract";
        readonly type: "address";
    }, {
        readonly name: "callbackGas";
        readonly type: "uint64";
    }, {
        readonly name: "callbackDataHash";
        readonly type: "bytes32";
    }, {
        readonly name: "refundTo";
        readonly type: "address";
    }, {
        readonly name: "deadline";
        readonly type: "uint64";
    }, {
        readonly name: "maxCost";
        readonly type: "uint96";
    }, {
        readonly name: "relayerTip";
        readonly type: "uint96";
    }, {
        readonly name: "nonce";
        readonly type: "uint256";
    }, {
        readonly name: "validUntil";
        readonly type: "uint64";
    }];
};
/** The EIP-712 domain: a signature is good on one chain, at one oracle. */
export interface Domain {
    readonly name: "InferenceOracle";
    readonly version: "1";
    readonly chainId: bigint;
    readonly verifyingContract: Hex;
}
/** All that `signTypedData` and `hashTypedData` of viem take. */
export interface TypedData {
    readonly domain: Domain;
    readonly types: typeof signedRequestTypes;
    readonly primaryType: "SignedRequest";
    readonly message: SignedRequest;
}
export declare function signedRequestDomain(chainId: Integer, oracle: Hex): Domain;
export declare function signedRequestTypedData(chainId: Integer, oracle: Hex, message: SignedRequest): TypedData;
/** A signed request on its way to a relayer, as `oracle relay` reads it: JSON has no integers of 256 bits. */
export interface Envelope {
    readonly chainId: string;
    readonly oracle: Hex;
    readonly request: {
        readonly [Field in keyof SignedRequest]: string;
    };
    readonly input: Hex;
    readonly callbackData: Hex;
    readonly signature: Hex;
}
export declare function envelope({ domain, message }: TypedData, input: Hex, callbackData: Hex, signature: Hex): Envelope;
