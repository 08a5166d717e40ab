// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {TransientSlot} from "@openzeppelin/contracts/utils/TransientSlot.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

import {IAIOracle, IAIOracleCallbackReceiver} from "./interfaces/IAIOracle.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {TextCoder} from "./TextCoder.sol";
import {ExactCall} from "./libraries/ExactCall.sol";
import {FieldElements} from "./libraries/FieldElements.sol";
import {ModelData} from "./libraries/ModelData.sol";
import {ProofTag} from "./libraries/ProofTag.sol";
import {RequestTerms, RequestTermsLibrary} from "./libraries/RequestTerms.sol";
import {TensorCodec} from "./libraries/TensorCodec.sol";
import {VerifierCall} from "./libraries/VerifierCall.sol";

// The preimage is hashed where it lies: twice a request, and once for each item of a batch.
// solhint-disable no-inline-assembly

/// @title Proved inference: requests, escrow, verified delivery
/// @dev Invariant: this contract's balance is at least the sum of all ETH credits plus the gas money
///      (and the fee, where that is in ETH) of all open requests; likewise for each token, as long
///      as the token keeps its own promises. More only if money was forced in.
///
///      Requests are deliberately not guarded, so that a callback may ask again. They only add a new
///      commitment. Everything that ends a request or lowers a credit is guarded.
contract InferenceOracle is IInferenceOracle, Ownable2Step, EIP712, ReentrancyGuardTransient {
    using BitMaps for BitMaps.BitMap;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    /// @dev Sums over the delivered items of a fulfilment.
    struct Totals {
        uint256 payeeFee;
        uint256 publisherFee;
        uint256 protocolFee;
        uint256 delivered;
    }

    /// @dev How the items of a fulfilment are paid for; `overhead` is each one's share of the gas
    ///      that they use together, `encoding` what this one's output used before its delivery.
    struct Payment {
        address payee;
        uint256 receiverBps;
        uint256 overhead;
        uint256 encoding;
    }

    /// @notice Most gas a callback may ask for.
    uint64 public constant MAX_CALLBACK_GAS = 5_000_000;
    /// @notice Seconds that ORA's calls leave for an answer.
    uint64 public constant DEFAULT_LIFETIME = 1 days;
    /// @notice Most seconds that a request may leave for an answer.
    uint64 public constant MAX_LIFETIME = 30 days;
    /// @notice The owner can ask for this share of a fee at most (basis points).
    uint16 public constant MAX_PROTOCOL_BPS = 1_000;

    /// @notice Gas of a fulfilment besides the verifier, the callback and what grows with the
    ///         request: intrinsic gas, a proof of up to 4 KB as calldata, and bookkeeping.
    uint256 public constant BASE_GAS = 160_000;
    /// @notice Gas of a fulfilment for one input or output element of the circuit.
    uint256 public constant ELEMENT_GAS = 1_200;
    /// @notice Gas that one number adds to that with the text codec.
    uint256 public constant TEXT_ELEMENT_GAS = 27_000;
    /// @notice Gas of a fulfilment for one byte of callback data: calldata, hash, copies.
    uint256 public constant CALLBACK_BYTE_GAS = 24;
    /// @notice Most bytes of callback data: with more, calldata alone could cost more than is paid
    ///         for all of it (EIP-7623).
    uint256 public constant MAX_CALLBACK_DATA = 8_192;
    /// @notice Most gas that a request may be quoted for: what one transaction may use (EIP-7825).
    uint256 public constant MAX_GAS_UNITS = 1 << 24;
    /// @notice Most bytes of a text input for each number, on average.
    uint256 public constant TEXT_BYTES = 32;

    /// @notice `estimateFee` quotes this many times the base fee; a request needs to cover it once.
    uint256 public constant QUOTE_HEADROOM = 2;
    /// @notice A top-up adds at least this fraction (1/8) of the gas money.
    uint256 public constant TOP_UP_DIVISOR = 8;

    // Part of a fulfilment that the contract cannot measure: 21,000 intrinsic, the fixed part of
    // the calldata, and the code before the first and after the last reading of `gasleft`.
    uint256 private constant UNMEASURED_GAS = 24_600;
    // The same for each item: its words in calldata, its output, its last credit and log.
    uint256 private constant UNMEASURED_ITEM_GAS = 10_000;
    uint256 private constant CALLDATA_BYTE_GAS = 16;
    uint256 private constant BPS = 10_000;
    // The remembered base fee is left as it is within an eighth, one block's largest step.
    uint256 private constant DRIFT_DIVISOR = 8;
    uint8 private constant CODEC_PACKED = 0;

    bytes32 private constant FULFILLED = bytes32(uint256(1));
    bytes32 private constant REFUNDED = bytes32(uint256(2));

    bytes32 private constant PULLING = keccak256("InferenceOracle.pulling");
    bytes32 private constant SIGNED_REQUEST_TYPEHASH = keccak256(
        "SignedRequest(address account,uint256 modelId,bytes32 inputHash,address callbackContract,"
        "uint64 callbackGas,bytes32 callbackDataHash,address refundTo,uint64 deadline,"
        "uint96 maxCost,uint96 relayerTip,uint256 nonce,uint64 validUntil)"
    );

    /// @inheritdoc IInferenceOracle
    IModelRegistry public immutable registry;

    TextCoder private immutable _textCoder;

    // One slot: what a request reads besides its model.
    uint128 private _lastBaseFee;
    /// @inheritdoc IInferenceOracle
    uint16 public protocolBps;
    /// @inheritdoc IInferenceOracle
    bool public paused;

    /// @inheritdoc IInferenceOracle
    mapping(uint256 requestId => bytes32) public commitments;

    /// @inheritdoc IInferenceOracle
    mapping(uint256 requestId => bytes32) public undelivered;

    /// @inheritdoc IInferenceOracle
    mapping(address account => uint256) public repeats;

    /// @inheritdoc IInferenceOracle
    mapping(address token => mapping(address account => uint256)) public creditOf;

    mapping(address account => BitMaps.BitMap) private _usedNonces;

    // Refund address of the request whose callback is running; zero outside of a callback.
    address private transient _deliveringFor;

    constructor(IModelRegistry registry_, address owner_)
        Ownable(owner_)
        EIP712("InferenceOracle", "1")
    {
        // Where transient storage is missing, no answer could be delivered and no request refunded,
        // but requests would be taken: there nothing is deployed. The text coder sees to MCOPY.
        assembly ("memory-safe") {
            tstore(0, 0)
        }
        registry = registry_;
        _textCoder = new TextCoder();
        _lastBaseFee = block.basefee.toUint128();
    }

    /// @inheritdoc IAIOracle
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256 requestId) {
        return _requestByDefault(modelId, 1, input, callbackContract, gasLimit, callbackData);
    }

    /// @inheritdoc IAIOracle
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData,
        uint8 inputDA,
        uint8 outputDA
    ) external payable returns (uint256 requestId) {
        if (inputDA != 0 || outputDA != 0) revert UnsupportedDataAvailability();
        return _requestByDefault(modelId, 1, input, callbackContract, gasLimit, callbackData);
    }

    /// @inheritdoc IAIOracle
    function requestBatchInference(
        uint256 batchSize,
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData,
        uint8 inputDA,
        uint8 outputDA
    ) external payable returns (uint256 requestId) {
        if (inputDA != 0 || outputDA != 0) revert UnsupportedDataAvailability();
        return
            _requestByDefault(modelId, batchSize, input, callbackContract, gasLimit, callbackData);
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
        _checkEnd(refundTo, deadline);
        Request memory req;
        req.account = msg.sender;
        req.modelId = modelId;
        req.callbackContract = callbackContract;
        req.callbackGas = callbackGas;
        req.refundTo = refundTo;
        req.deadline = deadline;
        return _requestPaid(req, 1, input, callbackData);
    }

    /// @inheritdoc IInferenceOracle
    function requestFor(
        SignedRequest calldata signed,
        bytes calldata input,
        bytes calldata callbackData,
        bytes calldata signature
    ) external nonReentrant returns (uint256 requestId) {
        _useSignature(signed, signature);
        _checkEnd(signed.refundTo, signed.deadline);
        Request memory req;
        req.account = signed.account;
        req.modelId = signed.modelId;
        req.callbackContract = signed.callbackContract;
        req.callbackGas = signed.callbackGas;
        req.refundTo = signed.refundTo;
        req.deadline = signed.deadline;
        address token = _prepare(req, 1, input, callbackData);
        if (req.inputHash != signed.inputHash) revert PreimageMismatch("input");
        if (req.callbackDataHash != signed.callbackDataHash) {
            revert PreimageMismatch("callbackData");
        }

        req.gasMoney = _quote(req.gasUnits).toUint96();
        uint256 cost = req.gasMoney;
        if (token == address(0)) cost += req.fee;
        else _debit(token, req.account, req.fee);
        if (cost > signed.maxCost) revert CostAboveMaximum(cost, signed.maxCost);
        _debit(address(0), req.account, cost + signed.relayerTip);
        _credit(address(0), msg.sender, signed.relayerTip);
        requestId = _commit(req, input, callbackData);
        emit RequestRelayed(
            requestId, req.account, msg.sender, signed.nonce, signed.relayerTip
        );
    }

    /// @inheritdoc IInferenceOracle
    function cancelNonce(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit NonceCancelled(msg.sender, nonce);
    }

    /// @inheritdoc IInferenceOracle
    function topUp(uint256 requestId, Request calldata req) external payable nonReentrant {
        _requirePreimage(requestId, req);
        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);
        uint256 least = minimumTopUp(req.gasMoney);
        if (msg.value < least) revert TopUpTooSmall(msg.value, least);
        Request memory raised = req;
        raised.gasMoney = (uint256(req.gasMoney) + msg.value).toUint96();
        commitments[requestId] = _hashInMemory(raised);
        emit RequestToppedUp(requestId, raised.gasMoney);
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
        _requireNoPull();
        _requirePreimage(requestId, req);
        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);
        if (keccak256(input) != req.inputHash) revert PreimageMismatch("input");
        if (keccak256(callbackData) != req.callbackDataHash) {
            revert PreimageMismatch("callbackData");
        }
        commitments[requestId] = FULFILLED;

        IModelRegistry.ProofTerms memory terms = _proofTerms(req.modelId);
        uint256 rows = _rows(terms, input);
        if (rows != 1) ModelData.fit(terms, address(registry), req.modelId, rows);
        (bytes memory call, uint256[] memory instances) = _newCall(terms, outputs, proof);
        _writeRow(terms, input, rows, instances, 0);
        _padRows(terms, rows, instances);
        _verify(terms, call, instances, keccak256(abi.encodePacked(requestId)), payee);

        Totals memory totals;
        _addFee(totals, terms.receiverBps, req);
        _creditFees(totals, terms, payee);
        bytes memory output = _encode(terms, outputs[:rows * terms.outputLength]);
        uint256 overhead = gasAtStart - gasleft() + UNMEASURED_GAS
            + CALLDATA_BYTE_GAS * (32 * outputs.length + proof.length);
        uint256 gasPaid = _deliver(
            requestId,
            req,
            input.length,
            callbackData,
            output,
            Payment(payee, terms.receiverBps, overhead, 0)
        );
        _credit(address(0), payee, gasPaid);
    }

    /// @inheritdoc IInferenceOracle
    function fulfillBatch(
        BatchItem[] calldata items,
        address payee,
        uint256[] calldata outputs,
        bytes calldata proof
    ) external nonReentrant returns (uint256 delivered) {
        uint256 gasAtStart = gasleft();
        _requireNoPull();
        if (items.length == 0) revert NothingToDeliver();
        uint256 modelId = items[0].req.modelId;
        IModelRegistry.ProofTerms memory terms = _proofTerms(modelId);
        ModelData.fit(terms, address(registry), modelId, items.length);
        (bytes memory call, uint256[] memory instances) = _newCall(terms, outputs, proof);
        (bool[] memory live, bytes32 idsHash, Totals memory totals) =
            _closeItems(items, modelId, terms, instances);
        delivered = totals.delivered;
        if (delivered == 0) revert NothingToDeliver();
        _padRows(terms, items.length, instances);
        _verify(terms, call, instances, idsHash, payee);

        _creditFees(totals, terms, payee);
        uint256 overhead = gasAtStart - gasleft() + UNMEASURED_GAS
            + CALLDATA_BYTE_GAS * (32 * outputs.length + proof.length);
        Payment memory payment = Payment(payee, terms.receiverBps, overhead / delivered, 0);
        _credit(address(0), payee, _deliverItems(items, live, outputs, terms, payment));
    }

    /// @inheritdoc IInferenceOracle
    function retryCallback(
        uint256 requestId,
        address callbackContract,
        uint64 callbackGas,
        address refundTo,
        uint64 gasLimit,
        bytes calldata output,
        bytes calldata callbackData
    ) external nonReentrant {
        _requireNoPull();
        bytes32 failed = _callbackHash(
            callbackContract, callbackGas, refundTo, keccak256(output), keccak256(callbackData)
        );
        if (undelivered[requestId] != failed) revert NothingToRetry(requestId);
        if (gasLimit < callbackGas) revert RetryGas(gasLimit, callbackGas);
        delete undelivered[requestId];
        emit CallbackRetried(requestId);
        bytes memory call = abi.encodeCall(
            IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, callbackData)
        );
        // Never zero: only failed callbacks have a hash in `undelivered`. Read by a request that the
        // callback makes, which slither does not see.
        // slither-disable-next-line write-after-write,missing-zero-check
        _deliveringFor = refundTo;
        if (!ExactCall.callNoReturn(callbackContract, gasLimit, call)) {
            revert CallbackFailed(requestId);
        }
        _deliveringFor = address(0);
    }

    /// @inheritdoc IInferenceOracle
    function refund(uint256 requestId, Request calldata req) external nonReentrant {
        _requirePreimage(requestId, req);
        if (block.timestamp <= req.deadline) revert DeadlineNotPassed(req.deadline);
        commitments[requestId] = REFUNDED;
        _credit(_proofTerms(req.modelId).token, req.refundTo, req.fee);
        _credit(address(0), req.refundTo, req.gasMoney);
        emit RequestRefunded(requestId, req.refundTo, req.fee, req.gasMoney);
    }

    /// @inheritdoc IInferenceOracle
    function deposit(address account) external payable {
        if (account == address(0) || msg.value == 0) revert InvalidDeposit();
        _credit(address(0), account, msg.value);
        emit Deposited(address(0), account, msg.sender, msg.value);
    }

    /// @inheritdoc IInferenceOracle
    function depositToken(address token, address account, uint256 amount) external nonReentrant {
        if (token == address(0) || account == address(0)) revert InvalidDeposit();
        uint256 received = _pull(token, amount);
        if (received == 0) revert InvalidDeposit();
        _credit(token, account, received);
        emit Deposited(token, account, msg.sender, received);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawTo(address to) external nonReentrant {
        _withdraw(address(0), msg.sender, to);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawTo(address token, address to) external nonReentrant {
        _withdraw(token, msg.sender, to);
    }

    /// @inheritdoc IInferenceOracle
    function setPaused(bool paused_) external onlyOwner {
        paused = paused_;
        emit PauseSet(paused_);
    }

    /// @inheritdoc IInferenceOracle
    function setProtocolFee(uint16 protocolBps_) external onlyOwner {
        if (protocolBps_ > MAX_PROTOCOL_BPS) {
            revert ProtocolFeeTooHigh(protocolBps_, MAX_PROTOCOL_BPS);
        }
        protocolBps = protocolBps_;
        emit ProtocolFeeSet(protocolBps_);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawProtocolFees(address token, address to) external onlyOwner nonReentrant {
        _withdraw(token, address(this), to);
    }

    /// @notice Give up the ownership for good. Not while new requests are paused: nobody could accept
    ///         them again.
    function renounceOwnership() public override onlyOwner {
        if (paused) revert RequestsPaused();
        super.renounceOwnership();
    }

    /// @inheritdoc IAIOracle
    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256) {
        return _estimate(modelId, gasLimit, 1);
    }

    /// @inheritdoc IAIOracle
    function estimateFeeBatch(uint256 modelId, uint256 gasLimit, uint256 batchSize)
        external
        view
        returns (uint256)
    {
        return _estimate(modelId, gasLimit, batchSize);
    }

    /// @inheritdoc IAIOracle
    function isFinalized(uint256 requestId) external view returns (bool) {
        Status current = status(requestId);
        return current == Status.Fulfilled || current == Status.Refunded;
    }

    /// @inheritdoc IAIOracle
    function getModel(uint256 modelId)
        external
        view
        returns (
            bytes32 modelHash,
            bytes32 programHash,
            uint256 fee,
            address receiver,
            uint256 receiverPercentage,
            uint256 accumulateRevenue,
            address token,
            bool unverifiable
        )
    {
        IModelRegistry.Model memory model = registry.getModel(modelId);
        modelHash = model.onnxHash;
        programHash = model.verifiers[0].vkHash;
        fee = model.fee;
        receiver = model.receiver;
        receiverPercentage = uint256(model.receiverBps) * 100 / BPS;
        token = model.token;
        accumulateRevenue = creditOf[token][receiver];
        unverifiable = false;
    }

    /// @inheritdoc IAIOracle
    function numberOfModels() external view returns (uint256) {
        return registry.count();
    }

    /// @inheritdoc IAIOracle
    function modelIDs(uint256 index) external view returns (uint256) {
        uint256 length = registry.count();
        if (index >= length) revert IndexOutOfRange(index, length);
        return index + 1;
    }

    /// @inheritdoc IInferenceOracle
    function tagOf(uint256 modelId, uint256[] calldata requestIds, address payee)
        external
        view
        returns (uint256[] memory limbs)
    {
        IModelRegistry.ProofTerms memory terms = _proofTerms(modelId);
        limbs = new uint256[](terms.tagLimbs);
        _writeTag(terms, keccak256(abi.encodePacked(requestIds)), payee, limbs, 0);
    }

    /// @inheritdoc IInferenceOracle
    function isNonceUsed(address account, uint256 nonce) external view returns (bool) {
        return _usedNonces[account].get(nonce);
    }

    /// @inheritdoc IInferenceOracle
    function hashOf(SignedRequest calldata signed) public view returns (bytes32) {
        // Every field is one word, so the struct's encoding is EIP-712's.
        return _hashTypedDataV4(keccak256(abi.encode(SIGNED_REQUEST_TYPEHASH, signed)));
    }

    /// @inheritdoc IInferenceOracle
    function lastBaseFee() external view returns (uint256) {
        return _lastBaseFee;
    }

    /// @inheritdoc IInferenceOracle
    function minimumTopUp(uint256 gasMoney) public pure returns (uint256) {
        return Math.max(gasMoney / TOP_UP_DIVISOR, 1);
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

    /// @dev ORA's calls name neither refund address nor deadline. Unspent money is credited to
    ///      `tx.origin`: a consumer written for ORA has no way to claim a credit, so the account
    ///      that started the transaction, usually the one that paid, gets it. Behind a relayer that
    ///      is the relayer: smart accounts use `request`. Asked from within a callback, where
    ///      `tx.origin` is whoever delivers, it is the refund address of the delivered request.
    function _requestByDefault(
        uint256 modelId,
        uint256 rows,
        bytes calldata input,
        address callbackContract,
        uint64 callbackGas,
        bytes calldata callbackData
    ) private returns (uint256 requestId) {
        Request memory req;
        req.account = msg.sender;
        req.modelId = modelId;
        req.callbackContract = callbackContract;
        req.callbackGas = callbackGas;
        // solhint-disable-next-line avoid-tx-origin
        req.refundTo = _deliveringFor == address(0) ? tx.origin : _deliveringFor;
        req.deadline = uint64(block.timestamp) + DEFAULT_LIFETIME;
        return _requestPaid(req, rows, input, callbackData);
    }

    /// @dev A request paid by the caller now. What exceeds the fee is gas money; it must cover the
    ///      gas at the present base fee.
    function _requestPaid(
        Request memory req,
        uint256 rows,
        bytes calldata input,
        bytes calldata callbackData
    ) private returns (uint256 requestId) {
        address token = _prepare(req, rows, input, callbackData);
        uint256 ethFee = token == address(0) ? req.fee : 0;
        uint256 required = ethFee + block.basefee * req.gasUnits;
        if (msg.value < required) revert Underpaid(msg.value, required);
        req.gasMoney = (msg.value - ethFee).toUint96();
        if (token != address(0) && req.fee != 0) {
            uint256 received = _pull(token, req.fee);
            if (received < req.fee) revert TokenShortfall(token, received, req.fee);
        }
        return _commit(req, input, callbackData);
    }

    /// @dev Check a request and complete it, all but its gas money.
    /// @return token Currency of its fee.
    function _prepare(
        Request memory req,
        uint256 rows,
        bytes calldata input,
        bytes calldata callbackData
    ) private returns (address token) {
        if (paused) revert RequestsPaused();
        RequestTerms terms;
        uint256 size;
        (terms, size, token) = registry.requestTerms(req.modelId, rows);
        if (!terms.isOpen()) revert ModelNotOpen(req.modelId);
        _checkInput(req.modelId, terms, rows, input);
        _checkCallback(req);
        req.fee = (uint256(terms.fee()) * rows).toUint96();
        req.gasUnits = _gasUnits(terms, size, req.callbackGas, callbackData.length);
        req.protocolBps = protocolBps;
        req.inputHash = keccak256(input);
        req.callbackDataHash = keccak256(callbackData);

        uint256 last = _lastBaseFee;
        uint256 drift = block.basefee > last ? block.basefee - last : last - block.basefee;
        if (drift > last / DRIFT_DIVISOR) _lastBaseFee = block.basefee.toUint128();
    }

    /// @dev Give a request its id, store its commitment and announce it.
    function _commit(Request memory req, bytes calldata input, bytes calldata callbackData)
        private
        returns (uint256 requestId)
    {
        requestId = _requestId(req, 0);
        // Asked before: the account's repeats are counted, what it asks for the first time is not.
        if (commitments[requestId] != 0) requestId = _requestId(req, ++repeats[req.account]);
        commitments[requestId] = _hashInMemory(req);
        emit AICallbackRequest(
            req.account,
            requestId,
            req.modelId,
            input,
            req.callbackContract,
            req.callbackGas,
            callbackData
        );
        emit RequestOpened(
            requestId,
            req.refundTo,
            req.deadline,
            req.fee,
            req.gasMoney,
            req.gasUnits,
            req.protocolBps
        );
    }

    /// @dev End all items that can be delivered, before the proof is checked: an id given twice is
    ///      open only once, and nothing that a callback does can touch them. Write all inputs,
    ///      which the proof covers whether delivered or not.
    function _closeItems(
        BatchItem[] calldata items,
        uint256 modelId,
        IModelRegistry.ProofTerms memory terms,
        uint256[] memory instances
    ) private returns (bool[] memory live, bytes32 idsHash, Totals memory totals) {
        live = new bool[](items.length);
        uint256[] memory ids = new uint256[](items.length);
        uint256 rowLength = terms.inputLength;
        for (uint256 i = 0; i < items.length; ++i) {
            BatchItem calldata item = items[i];
            Request calldata req = item.req;
            bytes calldata input = item.input;
            uint256 requestId = item.requestId;
            ids[i] = requestId;
            if (req.modelId != modelId) revert MixedModels(requestId);
            uint256 rows = _rows(terms, input);
            if (rows != 1) revert InputLength(rows * rowLength, rowLength);
            _writeRow(terms, input, 1, instances, i);
            (bool open, Skipped reason) = _deliverable(requestId, req, input, item.callbackData);
            if (!open) {
                emit RequestSkipped(requestId, reason);
                continue;
            }
            live[i] = true;
            commitments[requestId] = FULFILLED;
            _addFee(totals, terms.receiverBps, req);
        }
        idsHash = ProofTag.hashIds(ids);
    }

    function _deliverItems(
        BatchItem[] calldata items,
        bool[] memory live,
        uint256[] calldata outputs,
        IModelRegistry.ProofTerms memory terms,
        Payment memory payment
    ) private returns (uint256 gasPaid) {
        uint256 rowLength = terms.outputLength;
        for (uint256 i = 0; i < items.length; ++i) {
            if (!live[i]) continue;
            BatchItem calldata item = items[i];
            uint256 gasAtStart = gasleft();
            bytes memory output = _encode(terms, outputs[i * rowLength:(i + 1) * rowLength]);
            payment.encoding = gasAtStart - gasleft();
            gasPaid += _deliver(
                item.requestId,
                item.req,
                item.input.length,
                item.callbackData,
                output,
                payment
            );
        }
    }

    /// @dev Deliver a proved output and settle the gas money of its request.
    /// @return gasPaid Wei owed to the payee for gas.
    function _deliver(
        uint256 requestId,
        Request calldata req,
        uint256 inputBytes,
        bytes calldata callbackData,
        bytes memory output,
        Payment memory payment
    ) private returns (uint256 gasPaid) {
        uint256 gasAtStart = gasleft();
        // All gas money first, less the payment below: so that this write is measured too.
        creditOf[address(0)][req.refundTo] += req.gasMoney;
        bool succeeded = _callBack(requestId, req, callbackData, output);
        // Gas and calldata are far from a word's end.
        unchecked {
            gasPaid = _takeGasMoney(
                req,
                gasAtStart - gasleft() + payment.overhead + payment.encoding + UNMEASURED_ITEM_GAS
                    + CALLDATA_BYTE_GAS * (inputBytes + callbackData.length)
            );
        }
        (uint256 feePaid,,) = _split(req, payment.receiverBps);
        emit RequestFulfilled(requestId, payment.payee, feePaid, gasPaid, succeeded);
    }

    /// @dev Announce the result and call back; a callback that fails can be made again later.
    function _callBack(
        uint256 requestId,
        Request calldata req,
        bytes calldata callbackData,
        bytes memory output
    ) private returns (bool succeeded) {
        if (req.callbackContract != address(0)) {
            // Read by a request that the callback makes, which slither does not see.
            // slither-disable-next-line write-after-write
            _deliveringFor = req.refundTo;
            succeeded = ExactCall.callNoReturn(
                req.callbackContract,
                req.callbackGas,
                abi.encodeCall(
                    IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, callbackData)
                )
            );
            _deliveringFor = address(0);
            if (!succeeded) {
                undelivered[requestId] = _callbackHash(
                    req.callbackContract,
                    req.callbackGas,
                    req.refundTo,
                    keccak256(output),
                    req.callbackDataHash
                );
            }
        }
        emit AICallbackResult(req.account, requestId, msg.sender, output);
    }

    /// @dev Take the payment for `used` gas out of the credit that the request's gas money went to:
    ///      at the transaction's gas price or the price that the escrow was made at, whichever is
    ///      less, and never more than the escrow.
    function _takeGasMoney(Request calldata req, uint256 used) private returns (uint256 gasPaid) {
        // No product overflows: a price has 96 bits.
        unchecked {
            uint256 price = req.gasMoney / req.gasUnits;
            if (price > tx.gasprice) price = tx.gasprice;
            // slither-disable-next-line divide-before-multiply
            gasPaid = price * used;
            if (gasPaid > req.gasMoney) gasPaid = req.gasMoney;
        }
        // The credit holds at least the gas money just added: only guarded functions lower credits.
        // Checked none the less: a wrap here would be all the money.
        creditOf[address(0)][req.refundTo] -= gasPaid;
    }

    function _addFee(Totals memory totals, uint256 receiverBps, Request calldata req)
        private
        pure
    {
        (uint256 payeeFee, uint256 publisherFee, uint256 protocolFee) = _split(req, receiverBps);
        // Sums of 96-bit fees.
        unchecked {
            totals.payeeFee += payeeFee;
            totals.publisherFee += publisherFee;
            totals.protocolFee += protocolFee;
            ++totals.delivered;
        }
    }

    function _creditFees(
        Totals memory totals,
        IModelRegistry.ProofTerms memory terms,
        address payee
    ) private {
        _credit(terms.token, payee, totals.payeeFee);
        _credit(terms.token, terms.receiver, totals.publisherFee);
        _credit(terms.token, address(this), totals.protocolFee);
    }

    function _credit(address token, address account, uint256 amount) private {
        if (amount != 0) creditOf[token][account] += amount;
    }

    function _debit(address token, address account, uint256 amount) private {
        uint256 credit = creditOf[token][account];
        if (credit < amount) revert InsufficientCredit(token, credit, amount);
        creditOf[token][account] = credit - amount;
    }

    function _withdraw(address token, address account, address to) private {
        uint256 amount = creditOf[token][account];
        // Sent to itself, the money would be nobody's.
        if (amount == 0 || to == address(0) || to == address(this)) revert NothingToWithdraw();
        creditOf[token][account] = 0;
        emit Withdrawn(token, account, to, amount);
        // Last of all, so that every effect is done; contracts may need more than 2,300 gas.
        if (token != address(0)) {
            IERC20(token).safeTransfer(to, amount);
        } else {
            // solhint-disable-next-line avoid-low-level-calls
            (bool success,) = to.call{value: amount}("");
            if (!success) revert WithdrawalFailed(to);
        }
    }

    /// @dev Take `amount` of a token from the caller and measure what came. Not within itself: a
    ///      token that gives its holders control could have one transfer counted twice.
    function _pull(address token, uint256 amount) private returns (uint256 received) {
        TransientSlot.BooleanSlot pulling = PULLING.asBoolean();
        if (pulling.tload()) revert NestedTokenPayment();
        pulling.tstore(true);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        received = IERC20(token).balanceOf(address(this)) - before;
        pulling.tstore(false);
    }

    function _useSignature(SignedRequest calldata signed, bytes calldata signature) private {
        if (block.timestamp > signed.validUntil) revert SignatureExpired(signed.validUntil);
        _useNonce(signed.account, signed.nonce);
        if (!SignatureChecker.isValidSignatureNowCalldata(
                signed.account, hashOf(signed), signature
            )) revert InvalidSignature();
    }

    function _useNonce(address account, uint256 nonce) private {
        if (_usedNonces[account].get(nonce)) revert NonceUsed(account, nonce);
        _usedNonces[account].set(nonce);
    }

    function _estimate(uint256 modelId, uint256 gasLimit, uint256 rows)
        private
        view
        returns (uint256)
    {
        (RequestTerms terms, uint256 size, address token) = registry.requestTerms(modelId, rows);
        if (!terms.isOpen()) revert ModelNotOpen(modelId);
        uint256 ethFee = token == address(0) ? terms.fee() * rows : 0;
        return ethFee + _quote(_gasUnits(terms, size, gasLimit, 0));
    }

    function _quote(uint256 gasUnits) private view returns (uint256) {
        return QUOTE_HEADROOM * (block.basefee == 0 ? _lastBaseFee : block.basefee) * gasUnits;
    }

    /// @dev Whether an item is open as given and in time; if not, why.
    function _deliverable(
        uint256 requestId,
        Request calldata req,
        bytes calldata input,
        bytes calldata callbackData
    ) private view returns (bool, Skipped) {
        bytes32 commitment = commitments[requestId];
        if (_hash(req) != commitment) {
            bool ended = uint256(commitment) <= uint256(REFUNDED);
            return (false, ended ? Skipped.NotOpen : Skipped.CommitmentMismatch);
        }
        if (block.timestamp > req.deadline) return (false, Skipped.DeadlinePassed);
        if (
            keccak256(input) != req.inputHash || keccak256(callbackData) != req.callbackDataHash
        ) return (false, Skipped.PreimageMismatch);
        return (true, Skipped.NotOpen);
    }

    function _requirePreimage(uint256 requestId, Request calldata req) private view {
        if (commitments[requestId] == _hash(req)) return;
        Status current = status(requestId);
        if (current != Status.Open) revert NotOpen(requestId, current);
        revert CommitmentMismatch(requestId);
    }

    /// @dev What a result of one row is checked and paid against; `ModelData.fit` has other circuits.
    function _proofTerms(uint256 modelId)
        private
        view
        returns (IModelRegistry.ProofTerms memory)
    {
        return ModelData.proofTerms(address(registry), modelId);
    }

    /// @dev Prove the statement in `instances`, which lie in `call`, completed by the tag that names
    ///      the requests and the payee.
    function _verify(
        IModelRegistry.ProofTerms memory terms,
        bytes memory call,
        uint256[] memory instances,
        bytes32 idsHash,
        address payee
    ) private view {
        _writeTag(terms, idsHash, payee, instances, uint256(terms.size) * terms.inputLength);
        if (terms.verifier.codehash != terms.codeHash) revert VerifierChanged(terms.verifier);
        if (!ExactCall.staticCallReturnsTrue(terms.verifier, terms.verifyGas, call)) {
            revert ProofRejected();
        }
    }

    function _writeTag(
        IModelRegistry.ProofTerms memory terms,
        bytes32 idsHash,
        address payee,
        uint256[] memory fields,
        uint256 offset
    ) private view {
        uint256 tag = ProofTag.digest(block.chainid, address(this), idsHash, payee);
        ProofTag.toFields(tag, terms.tagLimbs, terms.tagBits, fields, offset);
    }

    /// @dev Only the account itself can be called back: nobody can feed a stranger's contract.
    function _checkCallback(Request memory req) private pure {
        bool wanted = req.callbackContract != address(0);
        if (
            wanted != (req.callbackGas != 0) || req.callbackGas > MAX_CALLBACK_GAS
                || (wanted && req.callbackContract != req.account)
        ) revert InvalidCallback(req.callbackContract, req.callbackGas);
    }

    function _requestId(Request memory req, uint256 repeat) private view returns (uint256) {
        return uint256(
            keccak256(
                abi.encode(
                    block.chainid,
                    address(this),
                    repeat,
                    req.account,
                    req.modelId,
                    req.inputHash
                )
            )
        );
    }

    function _checkEnd(address refundTo, uint64 deadline) private view {
        if (refundTo == address(0)) revert InvalidRefundAddress();
        if (deadline <= block.timestamp || deadline > block.timestamp + MAX_LIFETIME) {
            revert InvalidDeadline(deadline);
        }
    }

    function _checkInput(uint256 modelId, RequestTerms terms, uint256 rows, bytes calldata input)
        private
        view
    {
        uint256 length = rows * terms.inputLength();
        (int256 minimum, int256 maximum) =
            terms.has(RequestTermsLibrary.WIDE_INPUT | RequestTermsLibrary.HAS_CHECKER)
                ? registry.checkInput(modelId, input)
                : terms.inputBounds();
        if (terms.codec() == CODEC_PACKED) {
            uint256 expected = length * terms.inputWidth();
            if (input.length != expected) revert InputLength(input.length, expected);
            if (terms.has(RequestTermsLibrary.INPUT_UNBOUNDED)) return;
            TensorCodec.check(input, length, terms.inputWidth(), minimum, maximum);
        } else {
            uint256 limit = length * TEXT_BYTES;
            if (input.length > limit) revert TextTooLong(input.length, limit);
            uint256 found = _textCoder.check(input, terms.inputScale(), minimum, maximum);
            if (found != length) revert InputLength(found, length);
        }
    }

    /// @dev A token's hook must not fulfil while its payment runs: the callback could not pay.
    function _requireNoPull() private view {
        if (PULLING.asBoolean().tload()) revert NestedTokenPayment();
    }

    /// @dev Gas that a request pays for in advance.
    function _gasUnits(
        RequestTerms terms,
        uint256 size,
        uint256 callbackGas,
        uint256 callbackDataLength
    ) private pure returns (uint64) {
        if (callbackDataLength > MAX_CALLBACK_DATA) {
            revert CallbackDataTooLong(callbackDataLength, MAX_CALLBACK_DATA);
        }
        uint256 elements = size * (uint256(terms.inputLength()) + terms.outputLength());
        uint256 elementGas =
            terms.codec() == CODEC_PACKED ? ELEMENT_GAS : ELEMENT_GAS + TEXT_ELEMENT_GAS;
        uint256 gasUnits = BASE_GAS + terms.verifyGas() + callbackGas + elementGas * elements
            + CALLBACK_BYTE_GAS * callbackDataLength;
        if (gasUnits > MAX_GAS_UNITS) revert TooMuchGas(gasUnits, MAX_GAS_UNITS);
        return uint64(gasUnits);
    }

    /// @dev How a fee is shared: the protocol's part, the publisher's part of the rest, the payee's
    ///      remainder.
    function _split(Request calldata req, uint256 receiverBps)
        private
        pure
        returns (uint256 payeeFee, uint256 publisherFee, uint256 protocolFee)
    {
        // No product overflows: a fee has 96 bits. Shares are at most 10,000 basis points.
        unchecked {
            uint256 fee = req.fee;
            protocolFee = fee * req.protocolBps / BPS;
            publisherFee = (fee - protocolFee) * receiverBps / BPS;
            payeeFee = fee - protocolFee - publisherFee;
        }
    }

    /// @dev The verifier's call with the proof, and in it the public inputs of the circuit: all rows'
    ///      inputs, the tag, all rows' outputs. The outputs are written here. Encoded by us, never by
    ///      the node: generated verifiers read fixed calldata positions, and hand-made offsets would
    ///      show them another statement.
    function _newCall(
        IModelRegistry.ProofTerms memory terms,
        uint256[] calldata outputs,
        bytes calldata proof
    ) private pure returns (bytes memory call, uint256[] memory instances) {
        uint256 expected = uint256(terms.size) * terms.outputLength;
        if (outputs.length != expected) revert OutputLength(outputs.length, expected);
        uint256 outputOffset = uint256(terms.size) * terms.inputLength + terms.tagLimbs;
        (call, instances) = VerifierCall.prepare(proof, outputOffset + expected);
        TensorCodec.copyCalldata(outputs, instances, outputOffset);
    }

    /// @dev Write the inputs of `rows` rows from row `index` on. Their number has been checked.
    function _writeRow(
        IModelRegistry.ProofTerms memory terms,
        bytes calldata input,
        uint256 rows,
        uint256[] memory instances,
        uint256 index
    ) private view {
        uint256 offset = index * terms.inputLength;
        if (terms.codec == CODEC_PACKED) {
            TensorCodec.toFields(
                input, rows * terms.inputLength, terms.inputWidth, instances, offset
            );
        } else {
            FieldElements.copy(_textCoder.toFields(input, terms.inputScale), instances, offset);
        }
    }

    /// @dev Rows beyond the last repeat row 0.
    function _padRows(
        IModelRegistry.ProofTerms memory terms,
        uint256 rows,
        uint256[] memory instances
    ) private pure {
        for (uint256 row = rows; row < terms.size; ++row) {
            FieldElements.repeat(instances, terms.inputLength, row);
        }
    }

    /// @dev How many inputs there are; reverts unless they are whole ones.
    function _rows(IModelRegistry.ProofTerms memory terms, bytes calldata input)
        private
        view
        returns (uint256 rows)
    {
        uint256 rowLength = terms.inputLength;
        uint256 length = input.length;
        if (terms.codec == CODEC_PACKED) rowLength *= terms.inputWidth;
        else length = _textCoder.countNumbers(input);
        rows = length / rowLength;
        // slither-disable-next-line divide-before-multiply
        if (rows * rowLength != length) revert InputLength(length, rowLength);
    }

    function _encode(IModelRegistry.ProofTerms memory terms, uint256[] calldata outputs)
        private
        view
        returns (bytes memory)
    {
        if (terms.codec == CODEC_PACKED) {
            return TensorCodec.pack(
                outputs, terms.outputWidth, terms.outputMinimum, terms.outputMaximum
            );
        }
        return _textCoder.format(
            outputs, terms.outputScale, terms.outputMinimum, terms.outputMaximum
        );
    }

    /// @dev The preimage's hash. Unlike `abi.encode` this keeps stray bits of narrow fields: no
    ///      commitment was made with any, so that a request with some matches none.
    function _hash(Request calldata req) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, req, 384)
            hash := keccak256(free, 384)
        }
    }

    /// @dev `_hash` of a request in memory, where its fields, a word each, lie as encoded.
    function _hashInMemory(Request memory req) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(req, 384)
        }
    }

    function _callbackHash(
        address callbackContract,
        uint64 callbackGas,
        address refundTo,
        bytes32 outputHash,
        bytes32 callbackDataHash
    ) private pure returns (bytes32) {
        return keccak256(
            abi.encode(callbackContract, callbackGas, refundTo, outputHash, callbackDataHash)
        );
    }
}
