// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IModelErrors} from "./IModelErrors.sol";
import {RequestTerms} from "../libraries/RequestTerms.sol";

/// @title Append-only registry of proved models
/// @notice A registered model never changes: a better model is a new id. Its publisher can only
///         stop new requests and name a successor; open requests are served as they were made.
interface IModelRegistry is IModelErrors {
    /// @notice A flat tensor of fixed-point integers: real value = integer / 2**scale.
    /// @param elements How many one row has.
    /// @param width Bytes per element in the packed codec, 1 to 32.
    /// @param scale Fractional bits (at most 64 with the text codec).
    /// @param minimum Least integer the circuit accepts; at least -(R - 1) / 2.
    /// @param maximum Greatest integer the circuit accepts; at most (R - 1) / 2.
    struct Tensor {
        uint16 elements;
        uint8 width;
        uint8 scale;
        int256 minimum;
        int256 maximum;
    }

    /// @notice A circuit of the model, for a number of rows, and its verifier.
    /// @param verifier The generated verifier contract.
    /// @param codeHash `EXTCODEHASH` of the verifier; checked at registration and at every use.
    /// @param verifyGas Gas given to one verifier call; the call fails if it needs more.
    /// @param size Rows that one proof covers.
    /// @param settingsHash SHA-256 of the pinned ezkl settings.
    /// @param vkHash SHA-256 of the verifying key.
    /// @param srsHash SHA-256 of the structured reference string that key and verifier were made
    ///        with; it differs by circuit size.
    struct Verifier {
        address verifier;
        bytes32 codeHash;
        uint32 verifyGas;
        uint16 size;
        bytes32 settingsHash;
        bytes32 vkHash;
        bytes32 srsHash;
    }

    /// @notice Everything a requester, a node or an auditor must know about a model.
    /// @param onnxHash SHA-256 of the ONNX file that the circuits are made from.
    /// @param codec How request and result bytes carry the tensors: 0 = packed, 1 = text.
    /// @param tagLimbs Number of tag inputs of the circuits.
    /// @param tagBits Bits per tag input.
    /// @param input Shape of one input.
    /// @param output Shape of one output.
    /// @param inputChecker Holds each input element to a range of its own, within that of `input`;
    ///        zero where that one range serves all.
    /// @param token Currency of the fee: an ERC-20, or zero for ETH.
    /// @param fee Price of one inference in `token`, gas money (always ETH) not included.
    /// @param receiver Who gets the publisher's share of the fee.
    /// @param receiverBps Publisher's share in basis points, of the fee less the protocol's share.
    /// @param verifiers One per batch size, ascending; the first has size 1. At most 16.
    struct Model {
        bytes32 onnxHash;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        Tensor input;
        Tensor output;
        address inputChecker;
        address token;
        uint96 fee;
        address receiver;
        uint16 receiverBps;
        Verifier[] verifiers;
    }

    /// @notice What a result of some rows is checked and paid against.
    /// @dev In the order of the model's data contract, which `ModelData` reads.
    /// @param sizes Rows of each of the model's circuits, 16 bits each, the least lowest.
    /// @param verifier Verifier of the smallest circuit that is large enough.
    /// @param codeHash What its code must hash to.
    /// @param verifyGas Gas given to it.
    /// @param size Rows of the circuit.
    struct ProofTerms {
        uint256 sizes;
        address token;
        address receiver;
        uint16 receiverBps;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        uint16 inputLength;
        uint8 inputWidth;
        uint8 inputScale;
        uint16 outputLength;
        uint8 outputWidth;
        uint8 outputScale;
        int256 outputMinimum;
        int256 outputMaximum;
        address verifier;
        bytes32 codeHash;
        uint32 verifyGas;
        uint16 size;
    }

    /// @notice A model was registered.
    event ModelRegistered(
        uint256 indexed modelId, address indexed publisher, address indexed verifier, bytes32 onnxHash
    );
    /// @notice A model takes no new requests any more.
    event ModelClosed(uint256 indexed modelId);
    /// @notice The publisher recommends a newer model. Nothing else follows from it.
    event ModelSucceeded(uint256 indexed modelId, uint256 indexed successor);

    /// @notice Only the model's publisher may do this.
    error NotPublisher(uint256 modelId, address caller);
    /// @notice The verifier address has no code, or other code than declared.
    error VerifierCodeMismatch(address verifier, bytes32 actual, bytes32 declared);
    /// @notice A field of the model is outside its bounds; `field` is its name in ASCII.
    error InvalidModel(bytes32 field);
    /// @notice The input checker has no integer at all for element `index`.
    error EmptyRange(uint256 index);
    /// @notice The circuit of `size` rows is registered with an SRS that is not the ceremony's:
    ///         whoever made it can forge proofs. Only the local chains 1337 and 31337 take one.
    error UnsafeSrs(uint256 size, bytes32 srsHash);
    /// @notice The model's data contract was not made where readers look for it: this chain finds the
    ///         addresses of contracts in another way, and no model can be registered on it.
    error DataMisplaced(uint256 modelId, address actual);
    /// @notice The successor must be a registered model with a greater id, and is set only once.
    error InvalidSuccessor(uint256 modelId, uint256 successor);

    /// @notice Register a model for good. Ids count from 1. Reverts with `UnsafeSrs` on any but a
    ///         local chain unless every circuit's SRS is one of the Perpetual Powers of Tau.
    function register(Model calldata model) external returns (uint256 modelId);

    /// @notice Stop new requests for a model. Cannot be undone; open requests are not touched.
    function close(uint256 modelId) external;

    /// @notice Announce that `successor` replaces `modelId`. Once, by the publisher. Successors
    ///         have greater ids, so that whoever follows them comes to an end.
    function setSuccessor(uint256 modelId, uint256 successor) external;

    /// @notice The model as registered. Reverts with `UnknownModel`.
    function getModel(uint256 modelId) external view returns (Model memory);

    /// @notice The part of a model that a request of `rows` inputs needs. All zero for unknown ids;
    ///         reverts with `InvalidBatchSize` where no circuit is large enough or `rows` is 0.
    /// @return terms What it is checked and priced against, with the verifier gas of the smallest
    ///         circuit that has enough rows.
    /// @return size Rows of that circuit.
    /// @return token Currency of the fee; zero is ETH.
    function requestTerms(uint256 modelId, uint256 rows)
        external
        view
        returns (RequestTerms terms, uint256 size, address token);

    /// @notice Check the elements of an input, one row or several, against the ranges of their own, if
    ///         the model has an `inputChecker`; reverts as that does. The length is not checked.
    /// @return minimum Least integer that the model's circuits accept, whatever the element. Zero for
    ///         unknown ids.
    /// @return maximum Greatest such integer.
    function checkInput(uint256 modelId, bytes calldata input)
        external
        view
        returns (int256 minimum, int256 maximum);

    /// @notice The part of a model that a fulfilment of `rows` inputs needs. Reverts with
    ///         `UnknownModel`, and with `InvalidBatchSize` as above.
    /// @dev The oracle asks the model's data contract instead (`ModelData`).
    function proofTerms(uint256 modelId, uint256 rows) external view returns (ProofTerms memory);

    /// @notice Whether new requests are accepted. False for unknown ids.
    function isOpen(uint256 modelId) external view returns (bool);

    /// @notice Whether a circuit of the model is registered with an SRS that is not one of the
    ///         Perpetual Powers of Tau: whoever made it can forge the model's answers. On any but a
    ///         local chain `register` refuses such a model. Reverts with `UnknownModel`.
    /// @dev Follows from the registered hashes. That key and verifier were made with the SRS of that
    ///      hash is shown by making them again (`oracle model audit`), not by the registry.
    function isSrsUnsafe(uint256 modelId) external view returns (bool);

    /// @notice Who registered the model. Zero for unknown ids.
    function publisherOf(uint256 modelId) external view returns (address);

    /// @notice The announced successor. Zero while there is none.
    function successorOf(uint256 modelId) external view returns (uint256);

    /// @notice How many models are registered; ids are 1 to this number.
    function count() external view returns (uint256);
}
