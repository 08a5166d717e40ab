// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title Append-only registry of proved models
contract ModelRegistry is IModelRegistry {
    /// @notice Most gas a verifier may ask for: with the largest callback, a fulfilment still fits
    ///         one transaction (2^24 gas, EIP-7825).
    uint32 public constant MAX_VERIFY_GAS = 10_000_000;

    /// @notice The widest packed element, in bytes: bounds are `int112`, two to a slot.
    uint8 public constant MAX_WIDTH = 14;

    uint16 private constant BPS = 10_000;
    uint8 private constant CODEC_PACKED = 0;
    // Fewer bits and another payee's tag could be ground out; more would not fit one field element.
    uint16 private constant MIN_TAG_BITS = 96;
    uint16 private constant MAX_TAG_BITS = 248;

    /// @dev A `Model` in the order that keeps reads few: a request reads slots 0 and 1, a
    ///      fulfilment 0 and 2 to 5.
    struct Entry {
        // Slot 0. `verifyGas` is never zero for a registered model.
        uint32 verifyGas;
        uint96 fee;
        uint16 inputLength;
        uint8 inputWidth;
        uint8 inputScale;
        uint16 outputLength;
        uint8 outputWidth;
        uint8 outputScale;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        uint16 receiverBps;
        bool closed;
        // Slots 1 and 2.
        int112 inputMinimum;
        int112 inputMaximum;
        int112 outputMinimum;
        int112 outputMaximum;
        // Slots 3 to 6, one each.
        address verifier;
        bytes32 verifierCodeHash;
        address receiver;
        address publisher;
        // Slots 7 to 10.
        bytes32 onnxHash;
        bytes32 settingsHash;
        bytes32 vkHash;
        bytes32 srsHash;
    }

    /// @inheritdoc IModelRegistry
    uint256 public count;

    mapping(uint256 modelId => Entry) private _entries;

    /// @inheritdoc IModelRegistry
    function register(Model calldata model) external returns (uint256 modelId) {
        _validate(model);
        modelId = ++count;
        Entry storage entry = _entries[modelId];
        entry.verifyGas = model.verifyGas;
        entry.fee = model.fee;
        entry.inputLength = model.input.length;
        entry.inputWidth = model.input.width;
        entry.inputScale = model.input.scale;
        entry.outputLength = model.output.length;
        entry.outputWidth = model.output.width;
        entry.outputScale = model.output.scale;
        entry.codec = model.codec;
        entry.tagLimbs = model.tagLimbs;
        entry.tagBits = model.tagBits;
        entry.receiverBps = model.receiverBps;
        entry.inputMinimum = model.input.minimum;
        entry.inputMaximum = model.input.maximum;
        entry.outputMinimum = model.output.minimum;
        entry.outputMaximum = model.output.maximum;
        entry.verifier = model.verifier;
        entry.verifierCodeHash = model.verifierCodeHash;
        entry.receiver = model.receiver;
        entry.publisher = msg.sender;
        entry.onnxHash = model.onnxHash;
        entry.settingsHash = model.settingsHash;
        entry.vkHash = model.vkHash;
        entry.srsHash = model.srsHash;
        emit ModelRegistered(modelId, msg.sender, model.verifier, model.onnxHash);
    }

    /// @inheritdoc IModelRegistry
    function close(uint256 modelId) external {
        Entry storage entry = _known(modelId);
        if (entry.publisher != msg.sender) revert NotPublisher(modelId, msg.sender);
        if (entry.closed) return;
        entry.closed = true;
        emit ModelClosed(modelId);
    }

    /// @inheritdoc IModelRegistry
    function getModel(uint256 modelId) external view returns (Model memory model) {
        Entry storage entry = _known(modelId);
        model.onnxHash = entry.onnxHash;
        model.settingsHash = entry.settingsHash;
        model.vkHash = entry.vkHash;
        model.srsHash = entry.srsHash;
        model.verifierCodeHash = entry.verifierCodeHash;
        model.verifier = entry.verifier;
        model.verifyGas = entry.verifyGas;
        model.codec = entry.codec;
        model.tagLimbs = entry.tagLimbs;
        model.tagBits = entry.tagBits;
        model.input = Tensor({
            length: entry.inputLength,
            width: entry.inputWidth,
            scale: entry.inputScale,
            minimum: entry.inputMinimum,
            maximum: entry.inputMaximum
        });
        model.output = Tensor({
            length: entry.outputLength,
            width: entry.outputWidth,
            scale: entry.outputScale,
            minimum: entry.outputMinimum,
            maximum: entry.outputMaximum
        });
        model.fee = entry.fee;
        model.receiver = entry.receiver;
        model.receiverBps = entry.receiverBps;
    }

    /// @inheritdoc IModelRegistry
    function requestTerms(uint256 modelId) external view returns (RequestTerms memory) {
        Entry storage entry = _entries[modelId];
        return RequestTerms({
            isOpen: _isOpen(entry),
            inputLength: entry.inputLength,
            inputWidth: entry.inputWidth,
            inputMinimum: entry.inputMinimum,
            inputMaximum: entry.inputMaximum,
            outputLength: entry.outputLength,
            verifyGas: entry.verifyGas,
            fee: entry.fee
        });
    }

    /// @inheritdoc IModelRegistry
    function proofTerms(uint256 modelId) external view returns (ProofTerms memory) {
        Entry storage entry = _entries[modelId];
        return ProofTerms({
            verifier: entry.verifier,
            verifierCodeHash: entry.verifierCodeHash,
            verifyGas: entry.verifyGas,
            tagLimbs: entry.tagLimbs,
            tagBits: entry.tagBits,
            inputLength: entry.inputLength,
            inputWidth: entry.inputWidth,
            outputLength: entry.outputLength,
            outputWidth: entry.outputWidth,
            outputMinimum: entry.outputMinimum,
            outputMaximum: entry.outputMaximum,
            receiver: entry.receiver,
            receiverBps: entry.receiverBps
        });
    }

    /// @inheritdoc IModelRegistry
    function isOpen(uint256 modelId) external view returns (bool) {
        return _isOpen(_entries[modelId]);
    }

    /// @inheritdoc IModelRegistry
    function publisherOf(uint256 modelId) external view returns (address) {
        return _entries[modelId].publisher;
    }

    function _known(uint256 modelId) private view returns (Entry storage entry) {
        entry = _entries[modelId];
        if (entry.verifyGas == 0) revert UnknownModel(modelId);
    }

    function _isOpen(Entry storage entry) private view returns (bool) {
        return entry.verifyGas != 0 && !entry.closed;
    }

    function _validate(Model calldata model) private view {
        bytes32 codeHash = model.verifier.codehash;
        // An account without code has a hash too, so equality alone is not enough.
        if (model.verifier.code.length == 0 || codeHash != model.verifierCodeHash) {
            revert VerifierCodeMismatch(model.verifier, codeHash, model.verifierCodeHash);
        }
        if (model.verifyGas == 0 || model.verifyGas > MAX_VERIFY_GAS) {
            revert InvalidModel("verifyGas");
        }
        if (model.codec != CODEC_PACKED) revert InvalidModel("codec");
        uint256 tagBits = uint256(model.tagLimbs) * model.tagBits;
        if (tagBits < MIN_TAG_BITS || tagBits > MAX_TAG_BITS) revert InvalidModel("tag");
        _validate(model.input, "input");
        _validate(model.output, "output");
        if (model.receiverBps > BPS) revert InvalidModel("receiverBps");
        if (model.receiverBps != 0 && model.receiver == address(0)) revert InvalidModel("receiver");
    }

    function _validate(Tensor calldata tensor, bytes32 field) private pure {
        if (tensor.length == 0 || tensor.width == 0 || tensor.width > MAX_WIDTH) {
            revert InvalidModel(field);
        }
        int256 bound = int256(1) << (8 * uint256(tensor.width) - 1);
        if (
            tensor.minimum > tensor.maximum || tensor.minimum < -bound || tensor.maximum >= bound
        ) revert InvalidModel(field);
    }
}
