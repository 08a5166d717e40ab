// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInputChecker} from "./interfaces/IInputChecker.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {CeremonySrs} from "./libraries/CeremonySrs.sol";
import {RequestTerms, RequestTermsLibrary as Terms} from "./libraries/RequestTerms.sol";
import {TensorCodec} from "./libraries/TensorCodec.sol";

/// @title Append-only registry of proved models
contract ModelRegistry is IModelRegistry {
    /// @notice Most gas a verifier may ask for: with the largest callback, a fulfilment still fits
    ///         one transaction (2^24 gas, EIP-7825).
    uint32 public constant MAX_VERIFY_GAS = 10_000_000;
    /// @notice Most batch sizes of a model: their sizes share one storage slot.
    uint256 public constant MAX_VERIFIERS = 16;
    /// @notice Most fractional bits with the text codec: its arithmetic stays in 256 bits.
    uint8 public constant MAX_TEXT_SCALE = 64;

    uint16 private constant BPS = 10_000;
    uint8 private constant CODEC_TEXT = 1;
    // Fewer bits and another payee's tag could be ground out; more would not fit one field element.
    uint16 private constant MIN_TAG_BITS = 96;
    uint16 private constant MAX_TAG_BITS = 248;

    // The chains of one machine: nothing is at stake there, so anybody's SRS will do.
    uint256 private constant GANACHE_CHAIN = 1337;
    uint256 private constant ANVIL_CHAIN = 31337;

    uint256 private constant SIZE_BITS = 16;
    uint256 private constant SIZE_MASK = type(uint16).max;

    /// @dev A `Model` in the order that keeps reads few: a request of one row reads slot 0, a
    ///      fulfilment 0 to 2 and two of its verifier; wide bounds, a fee in a token and an input
    ///      checker add some.
    struct Entry {
        // Slot 0, with the gas of the first verifier.
        RequestTerms terms;
        // Slot 1.
        address receiver;
        uint16 receiverBps;
        uint8 outputWidth;
        uint8 outputScale;
        uint8 tagLimbs;
        uint8 tagBits;
        // Slot 2.
        int128 outputMinimum;
        int128 outputMaximum;
        // Slots 3 to 8, one each. `sizes` holds the batch sizes, 16 bits each, the least lowest.
        address token;
        address publisher;
        bytes32 onnxHash;
        uint256 sizes;
        uint256 successor;
        address inputChecker;
    }

    /// @inheritdoc IModelRegistry
    uint256 public count;

    mapping(uint256 modelId => Entry) private _entries;
    // By their place in `Entry.sizes`.
    mapping(uint256 modelId => mapping(uint256 index => Verifier)) private _verifiers;
    // Input minimum and maximum, output minimum and maximum, where they exceed `Entry`.
    mapping(uint256 modelId => int256[4]) private _wideBounds;

    /// @inheritdoc IModelRegistry
    function register(Model calldata model) external returns (uint256 modelId) {
        _validate(model);
        modelId = ++count;
        Entry storage entry = _entries[modelId];
        entry.terms = _storeBounds(modelId, entry, model);
        entry.outputWidth = model.output.width;
        entry.outputScale = model.output.scale;
        entry.tagLimbs = model.tagLimbs;
        entry.tagBits = model.tagBits;
        entry.receiverBps = model.receiverBps;
        entry.receiver = model.receiver;
        entry.inputChecker = model.inputChecker;
        entry.token = model.token;
        entry.publisher = msg.sender;
        entry.onnxHash = model.onnxHash;
        entry.sizes = _storeVerifiers(modelId, model.verifiers);
        emit ModelRegistered(modelId, msg.sender, model.verifiers[0].verifier, model.onnxHash);
    }

    /// @inheritdoc IModelRegistry
    function close(uint256 modelId) external {
        Entry storage entry = _published(modelId);
        if (!entry.terms.isOpen()) return;
        entry.terms = entry.terms.with(Terms.CLOSED);
        emit ModelClosed(modelId);
    }

    /// @inheritdoc IModelRegistry
    function setSuccessor(uint256 modelId, uint256 successor) external {
        Entry storage entry = _published(modelId);
        if (entry.successor != 0 || successor <= modelId || successor > count) {
            revert InvalidSuccessor(modelId, successor);
        }
        entry.successor = successor;
        emit ModelSucceeded(modelId, successor);
    }

    /// @inheritdoc IModelRegistry
    function getModel(uint256 modelId) external view returns (Model memory model) {
        Entry storage entry = _known(modelId);
        RequestTerms terms = entry.terms;
        (int256 inputMinimum, int256 inputMaximum) = _inputBounds(modelId, terms);
        (int256 outputMinimum, int256 outputMaximum) = _outputBounds(modelId, entry);
        model.onnxHash = entry.onnxHash;
        model.codec = terms.codec();
        model.tagLimbs = entry.tagLimbs;
        model.tagBits = entry.tagBits;
        model.input = Tensor({
            elements: terms.inputLength(),
            width: terms.inputWidth(),
            scale: terms.inputScale(),
            minimum: inputMinimum,
            maximum: inputMaximum
        });
        model.output = Tensor({
            elements: terms.outputLength(),
            width: entry.outputWidth,
            scale: entry.outputScale,
            minimum: outputMinimum,
            maximum: outputMaximum
        });
        model.inputChecker = entry.inputChecker;
        model.token = entry.token;
        model.fee = terms.fee();
        model.receiver = entry.receiver;
        model.receiverBps = entry.receiverBps;
        model.verifiers = new Verifier[](_verifierCount(entry));
        for (uint256 i = 0; i < model.verifiers.length; ++i) {
            model.verifiers[i] = _verifiers[modelId][i];
        }
    }

    /// @inheritdoc IModelRegistry
    function requestTerms(uint256 modelId, uint256 rows)
        external
        view
        returns (RequestTerms terms, uint256 size, address token)
    {
        Entry storage entry = _entries[modelId];
        terms = entry.terms;
        if (!terms.exists()) return (terms, 0, address(0));
        size = 1;
        if (rows != 1) {
            Verifier storage verifier = _verifierFor(modelId, entry, rows);
            size = verifier.size;
            terms = terms.withVerifyGas(verifier.verifyGas);
        }
        if (terms.has(Terms.HAS_TOKEN)) token = entry.token;
    }

    /// @inheritdoc IModelRegistry
    function proofTerms(uint256 modelId, uint256 rows)
        external
        view
        returns (ProofTerms memory terms)
    {
        Entry storage entry = _entries[modelId];
        RequestTerms known = entry.terms;
        if (!known.exists()) return terms;
        Verifier storage verifier =
            rows == 1 ? _verifiers[modelId][0] : _verifierFor(modelId, entry, rows);
        terms.verifier = verifier.verifier;
        terms.codeHash = verifier.codeHash;
        terms.verifyGas = verifier.verifyGas;
        terms.size = verifier.size;
        terms.codec = known.codec();
        terms.tagLimbs = entry.tagLimbs;
        terms.tagBits = entry.tagBits;
        terms.inputLength = known.inputLength();
        terms.inputWidth = known.inputWidth();
        terms.inputScale = known.inputScale();
        terms.outputLength = known.outputLength();
        terms.outputWidth = entry.outputWidth;
        terms.outputScale = entry.outputScale;
        (terms.outputMinimum, terms.outputMaximum) = _outputBounds(modelId, entry);
        if (known.has(Terms.HAS_TOKEN)) terms.token = entry.token;
        terms.receiverBps = entry.receiverBps;
        terms.receiver = entry.receiver;
    }

    /// @inheritdoc IModelRegistry
    function checkInput(uint256 modelId, bytes calldata input)
        external
        view
        returns (int256, int256)
    {
        Entry storage entry = _entries[modelId];
        RequestTerms terms = entry.terms;
        if (terms.has(Terms.HAS_CHECKER)) {
            IInputChecker(entry.inputChecker)
                .check(input, terms.codec(), terms.inputWidth(), terms.inputScale());
        }
        return _inputBounds(modelId, terms);
    }

    /// @inheritdoc IModelRegistry
    function tokenOf(uint256 modelId) external view returns (address) {
        return _entries[modelId].token;
    }

    /// @inheritdoc IModelRegistry
    function isOpen(uint256 modelId) external view returns (bool) {
        return _entries[modelId].terms.isOpen();
    }

    /// @inheritdoc IModelRegistry
    function isSrsUnsafe(uint256 modelId) external view returns (bool) {
        uint256 verifiers = _verifierCount(_known(modelId));
        for (uint256 i = 0; i < verifiers; ++i) {
            if (!CeremonySrs.includes(_verifiers[modelId][i].srsHash)) return true;
        }
        return false;
    }

    /// @inheritdoc IModelRegistry
    function publisherOf(uint256 modelId) external view returns (address) {
        return _entries[modelId].publisher;
    }

    /// @inheritdoc IModelRegistry
    function successorOf(uint256 modelId) external view returns (uint256) {
        return _entries[modelId].successor;
    }

    /// @dev The model's terms; bounds that do not fit them or `entry` go to slots of their own.
    function _storeBounds(uint256 modelId, Entry storage entry, Model calldata model)
        private
        returns (RequestTerms terms)
    {
        terms = Terms.pack(
            model.verifiers[0].verifyGas,
            model.fee,
            model.input.elements,
            model.input.width,
            model.input.scale,
            model.output.elements,
            model.codec
        );
        if (model.token != address(0)) terms = terms.with(Terms.HAS_TOKEN);
        // 32 bytes hold more than the field: of that nothing gets in, whatever a checker says.
        bool checked = model.inputChecker != address(0) && model.input.width < 32;
        if (model.codec != CODEC_TEXT && (checked || _coversWidth(model.input))) {
            terms = terms.with(Terms.INPUT_UNBOUNDED);
        }
        if (model.inputChecker != address(0)) terms = terms.with(Terms.HAS_CHECKER);
        Tensor calldata input = model.input;
        Tensor calldata output = model.output;
        if (input.minimum < type(int32).min || input.maximum > type(int32).max) {
            terms = terms.with(Terms.WIDE_INPUT);
            _wideBounds[modelId][0] = input.minimum;
            _wideBounds[modelId][1] = input.maximum;
        } else {
            terms = terms.withBounds(int32(input.minimum), int32(input.maximum));
        }
        if (output.minimum < type(int128).min || output.maximum > type(int128).max) {
            terms = terms.with(Terms.WIDE_OUTPUT);
            _wideBounds[modelId][2] = output.minimum;
            _wideBounds[modelId][3] = output.maximum;
        } else {
            entry.outputMinimum = int128(output.minimum);
            entry.outputMaximum = int128(output.maximum);
        }
    }

    function _storeVerifiers(uint256 modelId, Verifier[] calldata verifiers)
        private
        returns (uint256 sizes)
    {
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _verifiers[modelId][i] = verifiers[i];
            sizes |= uint256(verifiers[i].size) << (SIZE_BITS * i);
        }
    }

    function _inputBounds(uint256 modelId, RequestTerms terms)
        private
        view
        returns (int256, int256)
    {
        if (!terms.has(Terms.WIDE_INPUT)) return terms.inputBounds();
        return (_wideBounds[modelId][0], _wideBounds[modelId][1]);
    }

    function _outputBounds(uint256 modelId, Entry storage entry)
        private
        view
        returns (int256, int256)
    {
        if (!entry.terms.has(Terms.WIDE_OUTPUT)) return (entry.outputMinimum, entry.outputMaximum);
        return (_wideBounds[modelId][2], _wideBounds[modelId][3]);
    }

    /// @dev The smallest circuit with room for `rows`.
    function _verifierFor(uint256 modelId, Entry storage entry, uint256 rows)
        private
        view
        returns (Verifier storage)
    {
        uint256 largest = 0;
        uint256 index = 0;
        for (uint256 sizes = entry.sizes; sizes != 0; sizes >>= SIZE_BITS) {
            largest = sizes & SIZE_MASK;
            if (rows != 0 && largest >= rows) return _verifiers[modelId][index];
            ++index;
        }
        revert InvalidBatchSize(rows, largest);
    }

    function _verifierCount(Entry storage entry) private view returns (uint256 verifiers) {
        for (uint256 sizes = entry.sizes; sizes != 0; sizes >>= SIZE_BITS) ++verifiers;
    }

    function _known(uint256 modelId) private view returns (Entry storage entry) {
        entry = _entries[modelId];
        if (!entry.terms.exists()) revert UnknownModel(modelId);
    }

    function _published(uint256 modelId) private view returns (Entry storage entry) {
        entry = _known(modelId);
        if (entry.publisher != msg.sender) revert NotPublisher(modelId, msg.sender);
    }

    function _validate(Model calldata model) private view {
        _validate(model.verifiers);
        if (model.codec > CODEC_TEXT) revert InvalidModel("codec");
        uint256 tagBits = uint256(model.tagLimbs) * model.tagBits;
        if (tagBits < MIN_TAG_BITS || tagBits > MAX_TAG_BITS) revert InvalidModel("tag");
        _validate(model.input, model.codec, "input");
        _validate(model.output, model.codec, "output");
        if (model.inputChecker != address(0)) _validateChecker(model.inputChecker, model.input);
        // A token without code would seem to accept every transfer.
        if (model.token != address(0) && model.token.code.length == 0) {
            revert InvalidModel("token");
        }
        if (model.receiverBps > BPS) revert InvalidModel("receiverBps");
        if (model.receiverBps != 0 && model.receiver == address(0)) revert InvalidModel("receiver");
    }

    function _validate(Verifier[] calldata verifiers) private view {
        if (verifiers.length == 0 || verifiers.length > MAX_VERIFIERS || verifiers[0].size != 1) {
            revert InvalidModel("verifiers");
        }
        bool local = block.chainid == GANACHE_CHAIN || block.chainid == ANVIL_CHAIN;
        uint256 previous = 0;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            Verifier calldata entry = verifiers[i];
            if (entry.size <= previous) revert InvalidModel("verifiers");
            previous = entry.size;
            bytes32 codeHash = entry.verifier.codehash;
            // An account without code has a hash too, so equality alone is not enough.
            if (entry.verifier.code.length == 0 || codeHash != entry.codeHash) {
                revert VerifierCodeMismatch(entry.verifier, codeHash, entry.codeHash);
            }
            if (entry.verifyGas == 0 || entry.verifyGas > MAX_VERIFY_GAS) {
                revert InvalidModel("verifyGas");
            }
            if (!local && !CeremonySrs.includes(entry.srsHash)) {
                revert UnsafeSrs(entry.size, entry.srsHash);
            }
        }
    }

    function _validate(Tensor calldata tensor, uint8 codec, bytes32 field) private pure {
        if (tensor.elements == 0 || tensor.width == 0 || tensor.width > 32) {
            revert InvalidModel(field);
        }
        if (codec == CODEC_TEXT && tensor.scale > MAX_TEXT_SCALE) revert InvalidModel(field);
        (int256 least, int256 greatest) = _limits(tensor.width);
        if (tensor.minimum > tensor.maximum || tensor.minimum < least || tensor.maximum > greatest)
        {
            revert InvalidModel(field);
        }
    }

    /// @dev Only the hull is looked at: that each range is the circuits' own is for whoever audits.
    function _validateChecker(address checker, Tensor calldata input) private view {
        if (checker.code.length == 0) revert InvalidModel("inputChecker");
        (uint256 elements, int256 minimum, int256 maximum) = IInputChecker(checker).hull();
        if (elements != input.elements || minimum < input.minimum || maximum > input.maximum) {
            revert InvalidModel("inputChecker");
        }
    }

    /// @dev Whether every packed element of this width is in range. Never so for 32 bytes, which
    ///      hold more than the field.
    function _coversWidth(Tensor calldata tensor) private pure returns (bool) {
        int256 bound = int256(1) << (8 * uint256(tensor.width) - 1);
        return tensor.width < 32 && tensor.minimum == -bound && tensor.maximum == bound - 1;
    }

    /// @dev What fits `width` bytes and, as a signed number, the field.
    function _limits(uint8 width) private pure returns (int256 least, int256 greatest) {
        greatest = int256(TensorCodec.R / 2);
        least = -greatest;
        if (width < 32) {
            int256 bound = int256(1) << (8 * uint256(width) - 1);
            (least, greatest) = (-bound, bound - 1);
        }
    }
}
