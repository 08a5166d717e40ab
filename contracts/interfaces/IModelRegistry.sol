// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Append-only registry of proved models
/// @notice A registered model never changes: a better model is a new id. Its publisher can only
///         stop new requests; open requests are always served as they were made.
interface IModelRegistry {
    /// @notice A flat tensor of fixed-point integers: real value = integer / 2**scale.
    /// @param length Number of elements.
    /// @param width Bytes per element in the packed codec, 1 to 14.
    /// @param scale Fractional bits.
    /// @param minimum Least integer the circuit accepts.
    /// @param maximum Greatest integer the circuit accepts.
    struct Tensor {
        uint16 length;
        uint8 width;
        uint8 scale;
        int112 minimum;
        int112 maximum;
    }

    /// @notice Everything a requester, a node or an auditor must know about a model.
    /// @param onnxHash SHA-256 of the ONNX file as proved (tag input included).
    /// @param settingsHash SHA-256 of the pinned ezkl settings.
    /// @param vkHash SHA-256 of the verifying key.
    /// @param srsHash SHA-256 of the structured reference string.
    /// @param verifierCodeHash `EXTCODEHASH` of the verifier; checked at registration.
    /// @param verifier The generated verifier contract.
    /// @param verifyGas Gas given to one verifier call; the call fails if it needs more.
    /// @param codec How request and result bytes carry the tensors: 0 = packed.
    /// @param tagLimbs Number of tag inputs of the circuit.
    /// @param tagBits Bits per tag input.
    /// @param input Shape of the input.
    /// @param output Shape of the output.
    /// @param fee Price of one inference (wei), gas money not included.
    /// @param receiver Who gets the publisher's share of the fee.
    /// @param receiverBps Publisher's share of the fee in basis points.
    struct Model {
        bytes32 onnxHash;
        bytes32 settingsHash;
        bytes32 vkHash;
        bytes32 srsHash;
        bytes32 verifierCodeHash;
        address verifier;
        uint32 verifyGas;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        Tensor input;
        Tensor output;
        uint96 fee;
        address receiver;
        uint16 receiverBps;
    }

    /// @notice What a request is checked and priced against.
    struct RequestTerms {
        bool isOpen;
        uint16 inputLength;
        uint8 inputWidth;
        int112 inputMinimum;
        int112 inputMaximum;
        uint16 outputLength;
        uint32 verifyGas;
        uint96 fee;
    }

    /// @notice What a result is checked and paid against.
    struct ProofTerms {
        address verifier;
        bytes32 verifierCodeHash;
        uint32 verifyGas;
        uint8 tagLimbs;
        uint8 tagBits;
        uint16 inputLength;
        uint8 inputWidth;
        uint16 outputLength;
        uint8 outputWidth;
        int112 outputMinimum;
        int112 outputMaximum;
        address receiver;
        uint16 receiverBps;
    }

    event ModelRegistered(
        uint256 indexed modelId, address indexed publisher, address indexed verifier, bytes32 onnxHash
    );
    event ModelClosed(uint256 indexed modelId);

    /// @notice No model has this id.
    error UnknownModel(uint256 modelId);
    /// @notice Only the model's publisher may do this.
    error NotPublisher(uint256 modelId, address caller);
    /// @notice The verifier address has no code, or other code than declared.
    error VerifierCodeMismatch(address verifier, bytes32 actual, bytes32 declared);
    /// @notice A field of the model is outside its bounds; `field` is its name in ASCII.
    error InvalidModel(bytes32 field);

    /// @notice Register a model for good. Ids count from 1.
    function register(Model calldata model) external returns (uint256 modelId);

    /// @notice Stop new requests for a model. Cannot be undone; open requests are not touched.
    function close(uint256 modelId) external;

    /// @notice The model as registered. Reverts with `UnknownModel`.
    function getModel(uint256 modelId) external view returns (Model memory);

    /// @notice The part of a model that a request needs. All zero for unknown ids.
    function requestTerms(uint256 modelId) external view returns (RequestTerms memory);

    /// @notice The part of a model that a fulfilment needs. All zero for unknown ids.
    function proofTerms(uint256 modelId) external view returns (ProofTerms memory);

    /// @notice Whether new requests are accepted. False for unknown ids.
    function isOpen(uint256 modelId) external view returns (bool);

    /// @notice Who registered the model. Zero for unknown ids.
    function publisherOf(uint256 modelId) external view returns (address);

    /// @notice How many models are registered; ids are 1 to this number.
    function count() external view returns (uint256);
}
