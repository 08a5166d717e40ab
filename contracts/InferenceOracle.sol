// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IAIOracle, IAIOracleCallbackReceiver} from "./interfaces/IAIOracle.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IVerifier} from "./interfaces/IVerifier.sol";
import {ExactCall} from "./libraries/ExactCall.sol";
import {ProofTag} from "./libraries/ProofTag.sol";
import {TensorCodec} from "./libraries/TensorCodec.sol";

/// @title Proved inference: requests, escrow, verified delivery
/// @dev Invariant: this contract's balance is at least the sum of all credits plus the escrow
///      (`fee + gasMoney`) of all open requests; more only if ETH was forced in.
///
///      `request` is deliberately not guarded, so that a callback may ask again. It only adds a new
///      commitment. Everything that ends a request or moves a credit is guarded.
contract InferenceOracle is IInferenceOracle, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @notice Most gas a callback may ask for.
    uint64 public constant MAX_CALLBACK_GAS = 5_000_000;
    /// @notice Seconds that `requestCallback` leaves for an answer.
    uint64 public constant DEFAULT_LIFETIME = 1 days;
    /// @notice Most seconds that `request` may leave for an answer.
    uint64 public constant MAX_LIFETIME = 30 days;

    /// @notice Gas of a fulfilment besides the verifier, the callback and what grows with the
    ///         request: intrinsic gas, a proof of up to 4 KB as calldata, and bookkeeping.
    uint256 public constant BASE_GAS = 160_000;
    /// @notice Gas of a fulfilment for one input or output element.
    uint256 public constant ELEMENT_GAS = 700;
    /// @notice Gas of a fulfilment for one byte of callback data: calldata, hash, copies.
    uint256 public constant CALLBACK_BYTE_GAS = 24;

    /// @notice `estimateFee` quotes this many times the base fee; a request needs to cover it once.
    uint256 public constant QUOTE_HEADROOM = 2;

    // Part of a fulfilment that the contract cannot measure: 21,000 intrinsic, the fixed part of
    // the calldata, and the code before the first and after the last reading of `gasleft`.
    uint256 private constant UNMEASURED_GAS = 32_000;
    uint256 private constant CALLDATA_BYTE_GAS = 16;
    uint256 private constant BPS = 10_000;

    bytes32 private constant FULFILLED = bytes32(uint256(1));
    bytes32 private constant REFUNDED = bytes32(uint256(2));

    /// @inheritdoc IInferenceOracle
    IModelRegistry public immutable registry;

    /// @notice Base fee (wei) that a recent request saw. Some clients run `eth_call` with a base
    ///         fee of zero; `estimateFee` then quotes this one.
    uint256 public lastBaseFee;

    /// @inheritdoc IInferenceOracle
    mapping(uint256 requestId => bytes32) public commitments;

    /// @notice Requests made by `account`: the next one's nonce.
    mapping(address account => uint256) public nonces;

    /// @inheritdoc IInferenceOracle
    mapping(address account => uint256) public credits;

    // Refund address of the request whose callback is running; zero outside of a callback.
    address private transient _deliveringFor;

    constructor(IModelRegistry registry_) {
        registry = registry_;
        lastBaseFee = block.basefee;
    }

    /// @inheritdoc IAIOracle
    /// @dev Unspent money is credited to `tx.origin`: a consumer written for ORA has no way to
    ///      claim a credit, so the account that started the transaction, usually the one that
    ///      paid, gets it. Behind a relayer that is the relayer: smart accounts use `request`.
    ///      Asked from within a callback, where `tx.origin` is whoever delivers, it is the refund
    ///      address of the request that is being delivered.
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256 requestId) {
        return _request(
            modelId,
            input,
            callbackContract,
            gasLimit,
            callbackData,
            // solhint-disable-next-line avoid-tx-origin
            _deliveringFor == address(0) ? tx.origin : _deliveringFor,
            uint64(block.timestamp) + DEFAULT_LIFETIME
        );
    }

    /// @inheritdoc IInferenceOracle
    function request(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 callbackGas,
        bytes calldata callbackData,
        address refundTo,
        uint64 deadline
    ) external payable returns (uint256 requestId) {
        if (refundTo == address(0)) revert InvalidRefundAddress();
        if (deadline <= block.timestamp || deadline > block.timestamp + MAX_LIFETIME) {
            revert InvalidDeadline(deadline);
        }
        return _request(
            modelId, input, callbackContract, callbackGas, callbackData, refundTo, deadline
        );
    }

    /// @inheritdoc IInferenceOracle
    function fulfill(
        uint256 requestId,
        Request calldata req,
        bytes calldata input,
        bytes calldata callbackData,
        address payee,
        uint256[] calldata outputs,
        bytes calldata proof
    ) external nonReentrant {
        uint256 gasAtStart = gasleft();
        _requirePreimage(requestId, req);
        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);
        if (keccak256(input) != req.inputHash) revert PreimageMismatch("input");
        if (keccak256(callbackData) != req.callbackDataHash) {
            revert PreimageMismatch("callbackData");
        }

        IModelRegistry.ProofTerms memory terms = registry.proofTerms(req.modelId);
        _verify(requestId, terms, input, payee, outputs, proof);
        bytes memory output = TensorCodec.pack(
            outputs, terms.outputWidth, terms.outputMinimum, terms.outputMaximum
        );

        commitments[requestId] = FULFILLED;
        uint256 publisherFee = uint256(req.fee) * terms.receiverBps / BPS;
        if (publisherFee != 0) credits[terms.receiver] += publisherFee;
        credits[payee] += req.fee - publisherFee;
        // All gas money first, less the gas payment below: so these writes are measured too.
        credits[req.refundTo] += req.gasMoney;

        // Read by a request that the callback makes, which slither does not see.
        // slither-disable-next-line write-after-write
        _deliveringFor = req.refundTo;
        bool delivered = req.callbackContract != address(0)
            && ExactCall.callNoReturn(
                req.callbackContract,
                req.callbackGas,
                abi.encodeCall(
                    IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, callbackData)
                )
            );
        _deliveringFor = address(0);
        emit AICallbackResult(req.account, requestId, msg.sender, output);

        uint256 gasPayment = _gasPayment(
            req,
            terms,
            callbackData.length,
            gasAtStart,
            input.length + callbackData.length + 32 * outputs.length + proof.length
        );
        credits[payee] += gasPayment;
        credits[req.refundTo] -= gasPayment;
        emit RequestFulfilled(
            requestId,
            payee,
            req.fee - publisherFee + gasPayment,
            req.gasMoney - gasPayment,
            delivered
        );
    }

    /// @inheritdoc IInferenceOracle
    function refund(uint256 requestId, Request calldata req) external nonReentrant {
        _requirePreimage(requestId, req);
        if (block.timestamp <= req.deadline) revert DeadlineNotPassed(req.deadline);
        commitments[requestId] = REFUNDED;
        uint256 amount = uint256(req.fee) + req.gasMoney;
        credits[req.refundTo] += amount;
        emit RequestRefunded(requestId, req.refundTo, amount);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawTo(address to) external nonReentrant {
        uint256 amount = credits[msg.sender];
        if (amount == 0 || to == address(0)) revert NothingToWithdraw();
        credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount);
        // Last of all, so that every effect is done; contracts may need more than 2,300 gas.
        // solhint-disable-next-line avoid-low-level-calls
        (bool success,) = to.call{value: amount}("");
        if (!success) revert WithdrawalFailed(to);
    }

    /// @inheritdoc IAIOracle
    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256) {
        IModelRegistry.RequestTerms memory terms = registry.requestTerms(modelId);
        if (!terms.isOpen) revert ModelNotOpen(modelId);
        uint256 elements = uint256(terms.inputLength) + terms.outputLength;
        uint256 gasUnits = _gasUnits(terms.verifyGas, gasLimit, elements, 0);
        return terms.fee + QUOTE_HEADROOM * Math.max(block.basefee, lastBaseFee) * gasUnits;
    }

    /// @inheritdoc IAIOracle
    function isFinalized(uint256 requestId) external view returns (bool) {
        Status current = status(requestId);
        return current == Status.Fulfilled || current == Status.Refunded;
    }

    /// @inheritdoc IInferenceOracle
    function tagOf(uint256 modelId, uint256 requestId, address payee)
        external
        view
        returns (uint256[] memory limbs)
    {
        IModelRegistry.ProofTerms memory terms = registry.proofTerms(modelId);
        limbs = new uint256[](terms.tagLimbs);
        ProofTag.toFields(_tag(requestId, payee), terms.tagLimbs, terms.tagBits, limbs, 0);
    }

    /// @inheritdoc IInferenceOracle
    function status(uint256 requestId) public view returns (Status) {
        // slither-disable-start incorrect-equality
        // Sentinels are meant to be compared exactly; no preimage hashes to one of them.
        bytes32 commitment = commitments[requestId];
        if (commitment == 0) return Status.Unknown;
        if (commitment == FULFILLED) return Status.Fulfilled;
        if (commitment == REFUNDED) return Status.Refunded;
        // slither-disable-end incorrect-equality
        return Status.Open;
    }

    function _request(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 callbackGas,
        bytes calldata callbackData,
        address refundTo,
        uint64 deadline
    ) private returns (uint256 requestId) {
        IModelRegistry.RequestTerms memory terms = registry.requestTerms(modelId);
        if (!terms.isOpen) revert ModelNotOpen(modelId);
        _checkInput(terms, input);
        _checkCallback(callbackContract, callbackGas);
        uint96 gasMoney = _escrow(terms, callbackGas, callbackData.length);
        Request memory req = Request({
            account: msg.sender,
            modelId: modelId,
            callbackContract: callbackContract,
            callbackGas: callbackGas,
            refundTo: refundTo,
            deadline: deadline,
            fee: terms.fee,
            gasMoney: gasMoney,
            inputHash: keccak256(input),
            callbackDataHash: keccak256(callbackData)
        });
        uint256 nonce = nonces[msg.sender];
        nonces[msg.sender] = nonce + 1;
        requestId = uint256(
            keccak256(
                abi.encode(
                    block.chainid,
                    address(this),
                    nonce,
                    msg.sender,
                    modelId,
                    req.inputHash
                )
            )
        );
        commitments[requestId] = keccak256(abi.encode(req));
        emit AICallbackRequest(
            msg.sender, requestId, modelId, input, callbackContract, callbackGas, callbackData
        );
        emit RequestOpened(requestId, refundTo, deadline, req.fee, gasMoney);
    }

    /// @dev The money behind a request: whatever exceeds the fee is gas money. Reverts unless it
    ///      covers the gas at the present base fee.
    function _escrow(
        IModelRegistry.RequestTerms memory terms,
        uint256 callbackGas,
        uint256 callbackDataLength
    ) private returns (uint96 gasMoney) {
        // Within an eighth, one block's largest step, the remembered base fee is left as it is.
        uint256 last = lastBaseFee;
        uint256 drift = block.basefee > last ? block.basefee - last : last - block.basefee;
        if (drift > last / 8) lastBaseFee = block.basefee;

        uint256 gasUnits = _gasUnits(
            terms.verifyGas,
            callbackGas,
            uint256(terms.inputLength) + terms.outputLength,
            callbackDataLength
        );
        uint256 required = terms.fee + block.basefee * gasUnits;
        if (msg.value < required) revert Underpaid(msg.value, required);
        return (msg.value - terms.fee).toUint96();
    }

    /// @dev Prove that `outputs` is what the model says about `input`, by a proof that names this
    ///      request and this payee.
    function _verify(
        uint256 requestId,
        IModelRegistry.ProofTerms memory terms,
        bytes calldata input,
        address payee,
        uint256[] calldata outputs,
        bytes calldata proof
    ) private view {
        if (outputs.length != terms.outputLength) {
            revert OutputLength(outputs.length, terms.outputLength);
        }
        uint256 tagOffset = terms.inputLength;
        uint256 outputOffset = tagOffset + terms.tagLimbs;
        uint256[] memory instances = new uint256[](outputOffset + outputs.length);
        TensorCodec.toFields(input, terms.inputLength, terms.inputWidth, instances);
        ProofTag.toFields(
            _tag(requestId, payee), terms.tagLimbs, terms.tagBits, instances, tagOffset
        );
        for (uint256 i = 0; i < outputs.length; ++i) {
            instances[outputOffset + i] = outputs[i];
        }
        if (terms.verifier.codehash != terms.verifierCodeHash) {
            revert VerifierChanged(terms.verifier);
        }
        // The call is encoded here, never by the node: generated verifiers read fixed calldata
        // positions, and hand-made offsets would show them another statement.
        bytes memory call = abi.encodeCall(IVerifier.verifyProof, (proof, instances));
        if (!ExactCall.staticCallReturnsTrue(terms.verifier, terms.verifyGas, call)) {
            revert ProofRejected();
        }
    }

    /// @dev Wei owed for gas: what was used, at the transaction's gas price or the price that the
    ///      escrow was made at, whichever is less, and never more than the escrow.
    function _gasPayment(
        Request calldata req,
        IModelRegistry.ProofTerms memory terms,
        uint256 callbackDataLength,
        uint256 gasAtStart,
        uint256 calldataBytes
    ) private view returns (uint256) {
        uint256 gasUnits = _gasUnits(
            terms.verifyGas,
            req.callbackGas,
            uint256(terms.inputLength) + terms.outputLength,
            callbackDataLength
        );
        uint256 price = Math.min(tx.gasprice, req.gasMoney / gasUnits);
        uint256 used =
            gasAtStart - gasleft() + UNMEASURED_GAS + CALLDATA_BYTE_GAS * calldataBytes;
        return Math.min(price * used, req.gasMoney);
    }

    function _requirePreimage(uint256 requestId, Request calldata req) private view {
        Status current = status(requestId);
        if (current != Status.Open) revert NotOpen(requestId, current);
        if (keccak256(abi.encode(req)) != commitments[requestId]) {
            revert CommitmentMismatch(requestId);
        }
    }

    function _tag(uint256 requestId, address payee) private view returns (uint256) {
        return ProofTag.digest(
            block.chainid, address(this), keccak256(abi.encodePacked(requestId)), payee
        );
    }

    /// @dev Gas that a request pays for in advance.
    function _gasUnits(
        uint256 verifyGas,
        uint256 callbackGas,
        uint256 elements,
        uint256 callbackDataLength
    ) private pure returns (uint256) {
        return BASE_GAS + verifyGas + callbackGas + ELEMENT_GAS * elements
            + CALLBACK_BYTE_GAS * callbackDataLength;
    }

    function _checkInput(IModelRegistry.RequestTerms memory terms, bytes calldata input)
        private
        pure
    {
        uint256 expected = uint256(terms.inputLength) * terms.inputWidth;
        if (input.length != expected) revert InputLength(input.length, expected);
        TensorCodec.check(
            input, terms.inputLength, terms.inputWidth, terms.inputMinimum, terms.inputMaximum
        );
    }

    /// @dev Only the caller itself can be called back: nobody can feed a stranger's contract.
    function _checkCallback(address callbackContract, uint64 callbackGas) private view {
        bool wanted = callbackContract != address(0);
        if (
            wanted != (callbackGas != 0) || callbackGas > MAX_CALLBACK_GAS
                || (wanted && callbackContract != msg.sender)
        ) revert InvalidCallback(callbackContract, callbackGas);
    }
}
