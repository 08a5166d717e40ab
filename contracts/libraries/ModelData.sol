// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

import {IModelErrors} from "../interfaces/IModelErrors.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {DataContract} from "./DataContract.sol";

/// @title What never changes of a model, as its data contract holds it
/// @notice `ModelRegistry.register` creates one for each model and nothing else, so that the one of a
///         model is found by its id (`DataContract.addressOf`) and read without calling the registry.
/// @dev The data are words, as `abi.encode` writes them: `Fixed`, then each circuit, the smallest
///      first, as `IModelRegistry.Verifier`. From `Fixed.sizes` to the fourth word of the first
///      circuit they are its `IModelRegistry.ProofTerms`, and are copied straight into one.
library ModelData {
    /// @dev What is the same for all circuits of a model; from `sizes` on, the names are those of
    ///      `IModelRegistry.ProofTerms`, in its order.
    struct Fixed {
        bytes32 onnxHash;
        address inputChecker;
        int256 inputMinimum;
        int256 inputMaximum;
        IModelRegistry.InputKind inputKind;
        IModelRegistry.Trust trust;
        bytes32 transcriptHash;
        uint16 contributors;
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
    }

    /// @notice Most circuits of a model: `sizes` has room for no more.
    uint256 internal constant MAX_CIRCUITS = 16;

    uint256 private constant SIZE_BITS = 16;
    uint256 private constant SIZE_MASK = type(uint16).max;

    // Of the words: where `Fixed.sizes` is, where circuits begin, what one takes, and how many of its
    // first words are those of `ProofTerms`, which it is the end of.
    uint256 private constant TERMS_AT = 8;
    uint256 private constant CIRCUITS_AT = 23;
    uint256 private constant CIRCUIT_WORDS = 8;
    uint256 private constant CIRCUIT_TERMS_WORDS = 4;

    /// @notice Create a model's data contract.
    /// @param model What was registered, as it is; the caller has validated it.
    /// @param trust Of its weakest circuit.
    /// @return where Its address; zero if it could not be created.
    function create(IModelRegistry.Model calldata model, IModelRegistry.Trust trust)
        internal
        returns (address where)
    {
        bytes memory circuits;
        uint256 sizes = 0;
        for (uint256 i = 0; i < model.verifiers.length; ++i) {
            circuits = bytes.concat(circuits, abi.encode(model.verifiers[i]));
            sizes |= uint256(model.verifiers[i].size) << (SIZE_BITS * i);
        }
        return DataContract.create(bytes.concat(abi.encode(_fixed(model, trust, sizes)), circuits));
    }

    /// @notice What a result of one row is checked and paid against. Reverts with `UnknownModel`.
    function proofTerms(address registry, uint256 modelId)
        internal
        view
        returns (IModelRegistry.ProofTerms memory terms)
    {
        address source = DataContract.addressOf(registry, modelId);
        _copy(source, TERMS_AT, _pointer(terms), CIRCUITS_AT - TERMS_AT + CIRCUIT_TERMS_WORDS);
        // No circuit has no rows, and the word is the last of those copied: all of them were there.
        if (terms.size == 0) revert IModelErrors.UnknownModel(modelId);
    }

    /// @notice Make the terms of a known model those of the smallest circuit with room for `rows`.
    ///         Reverts with `InvalidBatchSize` if none has, or `rows` is 0.
    function fit(
        IModelRegistry.ProofTerms memory terms,
        address registry,
        uint256 modelId,
        uint256 rows
    ) internal view {
        uint256 largest = 0;
        uint256 index = 0;
        for (uint256 sizes = terms.sizes; sizes != 0; sizes >>= SIZE_BITS) {
            largest = sizes & SIZE_MASK;
            if (rows != 0 && largest >= rows) {
                _copy(
                    DataContract.addressOf(registry, modelId),
                    CIRCUITS_AT + index * CIRCUIT_WORDS,
                    _pointer(terms) + 32 * (CIRCUITS_AT - TERMS_AT),
                    CIRCUIT_TERMS_WORDS
                );
                return;
            }
            ++index;
        }
        revert IModelErrors.InvalidBatchSize(rows, largest);
    }

    /// @notice What is the same for all circuits; all zero for unknown ids.
    function fixedOf(address registry, uint256 modelId)
        internal
        view
        returns (Fixed memory known)
    {
        uint256 target;
        assembly ("memory-safe") {
            target := known
        }
        _copy(DataContract.addressOf(registry, modelId), 0, target, CIRCUITS_AT);
    }

    /// @notice The circuits of a model with these sizes, the smallest first.
    function circuitsOf(address registry, uint256 modelId, uint256 sizes)
        internal
        view
        returns (IModelRegistry.Verifier[] memory circuits)
    {
        uint256 length = 0;
        for (uint256 left = sizes; left != 0; left >>= SIZE_BITS) ++length;
        circuits = new IModelRegistry.Verifier[](length);
        address source = DataContract.addressOf(registry, modelId);
        for (uint256 i = 0; i < length; ++i) {
            IModelRegistry.Verifier memory circuit = circuits[i];
            uint256 target;
            assembly ("memory-safe") {
                target := circuit
            }
            _copy(source, CIRCUITS_AT + i * CIRCUIT_WORDS, target, CIRCUIT_WORDS);
        }
    }

    function _fixed(
        IModelRegistry.Model calldata model,
        IModelRegistry.Trust trust,
        uint256 sizes
    ) private pure returns (Fixed memory) {
        return Fixed({
            onnxHash: model.onnxHash,
            inputChecker: model.inputChecker,
            inputMinimum: model.input.minimum,
            inputMaximum: model.input.maximum,
            inputKind: model.inputKind,
            trust: trust,
            transcriptHash: model.transcriptHash,
            contributors: model.contributors,
            sizes: sizes,
            token: model.token,
            receiver: model.receiver,
            receiverBps: model.receiverBps,
            codec: model.codec,
            tagLimbs: model.tagLimbs,
            tagBits: model.tagBits,
            inputLength: model.input.elements,
            inputWidth: model.input.width,
            inputScale: model.input.scale,
            outputLength: model.output.elements,
            outputWidth: model.output.width,
            outputScale: model.output.scale,
            outputMinimum: model.output.minimum,
            outputMaximum: model.output.maximum
        });
    }

    function _pointer(IModelRegistry.ProofTerms memory terms)
        private
        pure
        returns (uint256 pointer)
    {
        assembly ("memory-safe") {
            pointer := terms
        }
    }

    /// @dev Copy words of a data contract into a struct in memory, whose fields are a word each.
    ///      What is beyond the code is zero.
    function _copy(address source, uint256 word, uint256 target, uint256 words) private view {
        uint256 start = DataContract.START;
        assembly ("memory-safe") {
            extcodecopy(source, target, add(start, mul(32, word)), mul(32, words))
        }
    }
}
