/** Requests that one account signs (EIP-712) and anybody submits: `requestFor` of the oracle. */

import type { Hex, Integer } from "./tensor.mjs";

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
} as const;

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

export function signedRequestDomain(chainId: Integer, oracle: Hex): Domain {
  const [name, version] = ["InferenceOracle", "1"] as const;
  return { name, version, chainId: BigInt(chainId), verifyingContract: oracle };
}

export function signedRequestTypedData(
  chainId: Integer,
  oracle: Hex,
  message: SignedRequest,
): TypedData {
  const domain = signedRequestDomain(chainId, oracle);
  return { domain, types: signedRequestTypes, primaryType: "SignedRequest", message };
}

/** A signed request on its way to a relayer, as `oracle relay` reads it: JSON has no integers of 256 bits. */
export interface Envelope {
  readonly chainId: string;
  readonly oracle: Hex;
  readonly request: { readonly [Field in keyof SignedRequest]: string };
  readonly input: Hex;
  readonly callbackData: Hex;
  readonly signature: Hex;
}

export function envelope(
  { domain, message }: TypedData,
  input: Hex,
  callbackData: Hex,
  signature: Hex,
): Envelope {
  const fields = Object.entries(message).map(([name, value]) => [name, String(value)]);
  return {
    chainId: String(domain.chainId),
    oracle: domain.verifyingContract,
    request: Object.fromEntries(fields) as Envelope["request"],
    input,
    callbackData,
    signature,
  };
}
