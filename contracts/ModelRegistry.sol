// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInputChecker} from "./interfaces/IInputChecker.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {DataContract} from "./libraries/DataContract.sol";
import {DelegatedCode} from "./libraries/DelegatedCode.sol";
import {ModelData} from "./libraries/ModelData.sol";
import {RequestTerms, RequestTermsLibrary as Terms} from "./libraries/RequestTerms.sol";
import {SetupRules} from "./libraries/SetupRules.sol";
import {TensorCodec} from "./libraries/TensorCodec.sol";

/// @title Append-only registry of proved models
/// @dev What never changes of a model is in its data contract; storage has what may change and the one
///      word that a request reads. Invariant: this contract creates the data contract of each model
///      and nothing else, so that its nonce is the next model's id (EIP-161: nonces begin at 1).
contract ModelRegistry is IModelRegistry {
    /// @notice Most gas a verifier may ask for: with the largest callback, a fulfilment still fits
    ///         one transaction (2^24 gas, EIP-7825).
    uint32 public constant MAX_VERIFY_GAS = 10_000_000;
    /// @notice Most batch sizes of a model: their sizes share one word.
    uint256 public constant MAX_VERIFIERS = ModelData.MAX_CIRCUITS;
    /// @notice Most fractional bits with the text codec: its arithmetic stays in 256 bits.
    uint8 public constant MAX_TEXT_SCALE = 64;

    uint16 private constant BPS = 10_000;
    uint8 private constant CODEC_PACKED = 0;
    uint8 private constant CODEC_TEXT = 1;
    // One contributor is one party.
    uint16 private constant MIN_CONTRIBUTORS = 2;
    // Fewer bits and another payee's tag could be ground out; more would not fit one field element.
    uint16 private constant MIN_TAG_BITS = 96;
    uint16 private constant MAX_TAG_BITS = 248;

    // The chains of one machine: nothing is at stake there, so anybody's set-up will do.
    uint256 private constant GANACHE_CHAIN = 1337;
    uint256 private constant ANVIL_CHAIN = 31337;

    /// @inheritdoc IModelRegistry
    uint256 public count;

    /// @inheritdoc IModelRegistry
    mapping(uint256 modelId => address) public publisherOf;

    /// @inheritdoc IModelRegistry
    mapping(uint256 modelId => uint256) public successorOf;

    mapping(uint256 modelId => RequestTerms) private _terms;

    /// @inheritdoc IModelRegistry
    function register(Model calldata model) external returns (uint256 modelId) {
        Trust trust = _validate(model);
        modelId = ++count;
        _terms[modelId] = _requestTerms(model);
        publisherOf[modelId] = msg.sender;
        address data = ModelData.create(model, trust);
        if (data != DataContract.addressOf(address(this), modelId)) {
            revert DataMisplaced(modelId, data);
        }
        emit ModelRegistered(modelId, msg.sender, model.verifiers[0].verifier, model.onnxHash);
    }

    /// @inheritdoc IModelRegistry
    function close(uint256 modelId) external {
        RequestTerms terms = _published(modelId);
        if (!terms.isOpen()) return;
        _terms[modelId] = terms.with(Terms.CLOSED);
        emit ModelClosed(modelId);
    }

    /// @inheritdoc IModelRegistry
    function setSuccessor(uint256 modelId, uint256 successor) external {
        _published(modelId);
        if (successorOf[modelId] != 0 || successor <= modelId || successor > count) {
            revert InvalidSuccessor(modelId, successor);
        }
        successorOf[modelId] = successor;
        emit ModelSucceeded(modelId, successor);
    }

    /// @inheritdoc IModelRegistry
    function getModel(uint256 modelId) external view returns (Model memory model) {
        RequestTerms terms = _known(modelId);
        ModelData.Fixed memory data = ModelData.fixedOf(address(this), modelId);
        model.onnxHash = data.onnxHash;
        model.codec = data.codec;
        model.tagLimbs = data.tagLimbs;
        model.tagBits = data.tagBits;
        model.inputKind = data.inputKind;
        model.input = Tensor({
            elements: data.inputLength,
            width: data.inputWidth,
            scale: data.inputScale,
            minimum: data.inputMinimum,
            maximum: data.inputMaximum
        });
        model.output = Tensor({
            elements: data.outputLength,
            width: data.outputWidth,
            scale: data.outputScale,
            minimum: data.outputMinimum,
            maximum: data.outputMaximum
        });
        model.inputChecker = data.inputChecker;
        model.token = data.token;
        model.fee = terms.fee();
        model.receiver = data.receiver;
        model.receiverBps = data.receiverBps;
        model.transcriptHash = data.transcriptHash;
        model.contributors = data.contributors;
        model.verifiers = ModelData.circuitsOf(address(this), modelId, data.sizes);
    }

    /// @inheritdoc IModelRegistry
    function requestTerms(uint256 modelId, uint256 rows)
        external
        view
        returns (RequestTerms terms, uint256 size, address token)
    {
        terms = _terms[modelId];
        if (!terms.exists()) return (terms, 0, address(0));
        if (rows == 1 && !terms.has(Terms.HAS_TOKEN)) return (terms, 1, address(0));
        ProofTerms memory data = proofTerms(modelId, rows);
        return (terms.withVerifyGas(data.verifyGas), data.size, data.token);
    }

    /// @inheritdoc IModelRegistry
    function checkInput(uint256 modelId, bytes calldata input)
        external
        view
        returns (int256, int256)
    {
        RequestTerms terms = _terms[modelId];
        ModelData.Fixed memory data = ModelData.fixedOf(address(this), modelId);
        if (terms.has(Terms.HAS_CHECKER)) {
            IInputChecker(data.inputChecker)
                .check(input, terms.codec(), terms.inputWidth(), terms.inputScale());
        }
        return (data.inputMinimum, data.inputMaximum);
    }

    /// @inheritdoc IModelRegistry
    function isOpen(uint256 modelId) external view returns (bool) {
        return _terms[modelId].isOpen();
    }

    /// @inheritdoc IModelRegistry
    function trustOf(uint256 modelId) external view returns (SetupTrust memory trust) {
        _known(modelId);
        ModelData.Fixed memory data = ModelData.fixedOf(address(this), modelId);
        trust.kind = data.trust;
        // Where something weaker decides, a transcript would only mislead.
        if (data.trust == Trust.Ceremony) {
            trust.transcriptHash = data.transcriptHash;
            trust.contributors = data.contributors;
        }
    }

    /// @inheritdoc IModelRegistry
    function proofTerms(uint256 modelId, uint256 rows)
        public
        view
        returns (ProofTerms memory terms)
    {
        terms = ModelData.proofTerms(address(this), modelId);
        ModelData.fit(terms, address(this), modelId, rows);
    }

    function _known(uint256 modelId) private view returns (RequestTerms terms) {
        terms = _terms[modelId];
        if (!terms.exists()) revert UnknownModel(modelId);
    }

    function _published(uint256 modelId) private view returns (RequestTerms terms) {
        terms = _known(modelId);
        if (publisherOf[modelId] != msg.sender) revert NotPublisher(modelId, msg.sender);
    }

    /// @return trust Of the model's weakest circuit.
    function _validate(Model calldata model) private view returns (Trust trust) {
        trust = _validateVerifiers(model);
        if (model.codec > CODEC_TEXT) revert InvalidModel("codec");
        uint256 tagBits = uint256(model.tagLimbs) * model.tagBits;
        if (tagBits < MIN_TAG_BITS || tagBits > MAX_TAG_BITS) revert InvalidModel("tag");
        if (model.inputKind == InputKind.Commitment) _validateCommitment(model);
        else _validate(model.input, model.codec, "input");
        _validate(model.output, model.codec, "output");
        if (model.inputChecker != address(0)) _validateChecker(model.inputChecker, model.input);
        // A token without code would seem to accept every transfer.
        if (model.token != address(0) && model.token.code.length == 0) {
            revert InvalidModel("token");
        }
        if (model.receiverBps > BPS) revert InvalidModel("receiverBps");
        if (model.receiverBps != 0 && model.receiver == address(0)) revert InvalidModel("receiver");
    }

    function _validateVerifiers(Model calldata model) private view returns (Trust weakest) {
        Verifier[] calldata verifiers = model.verifiers;
        if (verifiers.length == 0 || verifiers.length > MAX_VERIFIERS || verifiers[0].size != 1) {
            revert InvalidModel("verifiers");
        }
        bool local = block.chainid == GANACHE_CHAIN || block.chainid == ANVIL_CHAIN;
        uint256 previous = 0;
        bool hasCeremony = false;
        weakest = Trust.Transparent;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            Verifier calldata entry = verifiers[i];
            if (entry.size <= previous) revert InvalidModel("verifiers");
            previous = entry.size;
            _validate(entry);
            Trust trust = SetupRules.trustOf(entry, model.transcriptHash);
            if (trust == Trust.OneParty && !local) {
                revert UnsafeSetup(entry.size, entry.setupHash);
            }
            if (trust == Trust.Ceremony) hasCeremony = true;
            if (trust < weakest) weakest = trust;
        }
        // A transcript is of something, and what it is of has contributors: all or nothing.
        if (
            hasCeremony
                ? model.contributors < MIN_CONTRIBUTORS
                : model.transcriptHash != 0 || model.contributors != 0
        ) revert InvalidModel("transcript");
    }

    function _validate(Verifier calldata entry) private view {
        bytes32 codeHash = entry.verifier.codehash;
        // An account without code has a hash too, so equality alone is not enough.
        if (entry.verifier.code.length == 0 || codeHash != entry.codeHash) {
            revert VerifierCodeMismatch(entry.verifier, codeHash, entry.codeHash);
        }
        if (entry.verifyGas == 0 || entry.verifyGas > MAX_VERIFY_GAS) {
            revert InvalidModel("verifyGas");
        }
        if (DelegatedCode.isAt(entry.verifier)) revert DelegatedVerifier(entry.verifier);
        if (entry.system == ProofSystem.Unknown) revert InvalidModel("system");
        if (entry.system == ProofSystem.Stark && entry.setupHash != 0) {
            revert InvalidModel("setupHash");
        }
    }

    /// @dev A commitment's elements have nothing that an oracle could hold them to but the field.
    function _validateCommitment(Model calldata model) private pure {
        Tensor calldata input = model.input;
        if (
            model.codec != CODEC_PACKED || model.inputChecker != address(0) || input.elements == 0
                || input.width != 32 || input.scale != 0 || input.minimum != 0
                || input.maximum != int256(TensorCodec.R - 1)
        ) revert InvalidModel("commitment");
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

    /// @dev What a request reads of the model; bounds that do not fit are in its data contract alone.
    function _requestTerms(Model calldata model) private pure returns (RequestTerms terms) {
        Tensor calldata input = model.input;
        terms = Terms.pack(
            model.verifiers[0].verifyGas,
            model.fee,
            input.elements,
            input.width,
            input.scale,
            model.output.elements,
            model.codec
        );
        if (model.token != address(0)) terms = terms.with(Terms.HAS_TOKEN);
        // 32 bytes hold more than the field: of that nothing gets in, whatever a checker says.
        bool checked = model.inputChecker != address(0) && input.width < 32;
        if (model.codec != CODEC_TEXT && (checked || _coversWidth(input))) {
            terms = terms.with(Terms.INPUT_UNBOUNDED);
        }
        if (model.inputChecker != address(0)) terms = terms.with(Terms.HAS_CHECKER);
        if (input.minimum < type(int32).min || input.maximum > type(int32).max) {
            return terms.with(Terms.WIDE_INPUT);
        }
        return terms.withBounds(int32(input.minimum), int32(input.maximum));
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
