// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAIOracle, IAIOracleCallbackReceiver} from "../interfaces/IAIOracle.sol";
import {IAIOracleErrorReceiver} from "../interfaces/IAIOracle.sol";
import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {ExactCall} from "../libraries/ExactCall.sol";
import {RequestTerms, RequestTermsLibrary} from "../libraries/RequestTerms.sol";
import {TensorCodec} from "../libraries/TensorCodec.sol";
import {ModelRegistry} from "../ModelRegistry.sol";
import {TextCoder} from "../TextCoder.sol";

/// @title The oracle for a consumer's unit tests: no proof, no node, no wait
/// @notice It takes and refuses requests as `InferenceOracle` does, with the same errors, events,
///         ids and money, and keeps them. The test then says how each ends, with one call: `answer`,
///         `answerError` or `expire`. Nothing is ever called back inside a request, and a callback
///         gets exactly the gas that it was promised.
/// @dev For tests only: anyone may answer anything. Registry and codecs are the real ones. Fees are
///      in ETH. What only nodes, relayers and the owner use reverts with `NotMocked`.
contract MockInferenceOracle is IInferenceOracle {
    /// @dev A request as it was made, and its answer.
    struct Recorded {
        Request req;
        bytes input;
        bytes callbackData;
        uint256 rows;
        bytes output;
    }

    /// @notice Gas that the models of `addModel` give their verifiers, for the price of a request.
    uint32 public constant VERIFY_GAS = 500_000;

    /// @dev One of the ceremony's, so that the registry takes the models of `addModel` on any chain.
    bytes32 private constant CEREMONY_SRS =
        0xcafb2aa72c200ddc4e28aacabb8066e829207e2484b8d17059a566232f8a297b;

    uint64 private constant MAX_CALLBACK_GAS = 5_000_000;
    uint64 private constant DEFAULT_LIFETIME = 1 days;
    uint64 private constant MAX_LIFETIME = 30 days;
    uint256 private constant BASE_GAS = 160_000;
    uint256 private constant ELEMENT_GAS = 1_200;
    uint256 private constant TEXT_ELEMENT_GAS = 27_000;
    uint256 private constant CALLBACK_BYTE_GAS = 24;
    uint256 private constant MAX_CALLBACK_DATA = 8_192;
    uint256 private constant MAX_GAS_UNITS = 1 << 24;
    uint256 private constant TEXT_BYTES = 32;
    uint256 private constant QUOTE_HEADROOM = 2;
    uint256 private constant TOP_UP_DIVISOR = 8;
    uint256 private constant DRIFT_DIVISOR = 8;
    uint256 private constant BPS = 10_000;
    uint8 private constant CODEC_PACKED = 0;

    bytes32 private constant FULFILLED = bytes32(uint256(1));
    bytes32 private constant REFUNDED = bytes32(uint256(2));

    /// @inheritdoc IInferenceOracle
    IModelRegistry public immutable registry;

    TextCoder private immutable _textCoder;

    /// @inheritdoc IInferenceOracle
    uint256 public lastBaseFee;
    /// @inheritdoc IInferenceOracle
    bool public paused;
    /// @inheritdoc IInferenceOracle
    uint16 public constant protocolBps = 0; // solhint-disable-line const-name-snakecase

    /// @inheritdoc IInferenceOracle
    mapping(uint256 requestId => bytes32) public commitments;
    /// @inheritdoc IInferenceOracle
    mapping(uint256 requestId => bytes32) public undelivered;
    /// @inheritdoc IInferenceOracle
    mapping(address account => uint256) public repeats;
    /// @inheritdoc IInferenceOracle
    mapping(address token => mapping(address account => uint256)) public creditOf;

    /// @notice Ids of all requests, in the order in which they were made.
    uint256[] public requestIds;

    mapping(uint256 requestId => Recorded) private _recorded;
    address private _deliveringFor;
    bool private _entered;

    /// @notice The real oracle does this, the mock does not: it belongs to nodes, relayers, tokens or
    ///         the owner.
    error NotMocked(bytes4 selector);
    /// @notice As OpenZeppelin's guard, which the real oracle uses.
    error ReentrancyGuardReentrantCall();
    /// @notice As OpenZeppelin's `SafeCast`.
    error SafeCastOverflowedUintDowncast(uint8 bits, uint256 value);

    /// @notice As the registry's `InvalidModel`, of `addModel`; so are the next six its own.
    error InvalidModel(bytes32 field);
    /// @notice As `IModelRegistry.VerifierCodeMismatch`.
    error VerifierCodeMismatch(address verifier, bytes32 actual, bytes32 declared);
    /// @notice As `IModelRegistry.EmptyRange`.
    error EmptyRange(uint256 index);
    /// @notice As `IModelRegistry.UnsafeSetup`.
    error UnsafeSetup(uint256 size, bytes32 setupHash);
    /// @notice As `IModelRegistry.DelegatedVerifier`.
    error DelegatedVerifier(address verifier);
    /// @notice As `IModelRegistry.DataMisplaced`.
    error DataMisplaced(uint256 modelId, address actual);
    /// @notice As `IModelRegistry.NotPublisher`, of `closeModel`.
    error NotPublisher(uint256 modelId, address caller);

    modifier nonReentrant() {
        if (_entered) revert ReentrancyGuardReentrantCall();
        _entered = true;
        _;
        _entered = false;
    }

    constructor() {
        registry = new ModelRegistry();
        _textCoder = new TextCoder();
        lastBaseFee = block.basefee;
    }

    /// @notice Register a model with the packed codec, for one row and for batches of up to 8 and 64.
    /// @param input Shape of one input.
    /// @param output Shape of one output.
    /// @param fee Price of one inference (wei), gas money not included.
    function addModel(
        IModelRegistry.Tensor calldata input,
        IModelRegistry.Tensor calldata output,
        uint96 fee
    ) external returns (uint256 modelId) {
        IModelRegistry.Model memory model;
        model.input = input;
        model.output = output;
        model.fee = fee;
        model.tagLimbs = 5;
        model.tagBits = 24;
        model.verifiers = new IModelRegistry.Verifier[](3);
        for (uint256 i = 0; i < 3; ++i) {
            model.verifiers[i].size = uint16(1 << (3 * i));
            model.verifiers[i].verifyGas = VERIFY_GAS;
            model.verifiers[i].verifier = address(this);
            model.verifiers[i].codeHash = address(this).codehash;
            model.verifiers[i].system = IModelRegistry.ProofSystem.Halo2Kzg;
            model.verifiers[i].setupHash = CEREMONY_SRS;
        }
        return registry.register(model);
    }

    /// @notice Stop new requests for a model of `addModel`, as its publisher would.
    function closeModel(uint256 modelId) external {
        registry.close(modelId);
    }

    /// @notice Deliver an answer, as a fulfilment does. A callback that fails costs the callback and
    ///         not the answer. The caller is paid as the node.
    /// @param requestId An open request whose deadline has not passed.
    /// @param outputs Fixed-point integers, a row after the other: real value = integer / 2**scale.
    function answer(uint256 requestId, int256[] calldata outputs) external nonReentrant {
        Recorded storage recorded = _open(requestId);
        Request memory req = recorded.req;
        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);
        IModelRegistry.ProofTerms memory terms = registry.proofTerms(req.modelId, recorded.rows);
        uint256 expected = recorded.rows * terms.outputLength;
        if (outputs.length != expected) revert OutputLength(outputs.length, expected);
        commitments[requestId] = FULFILLED;
        bytes memory output = this.encode(req.modelId, _fields(outputs));
        recorded.output = output;
        uint256 publisherFee = uint256(req.fee) * terms.receiverBps / BPS;
        creditOf[address(0)][terms.receiver] += publisherFee;
        creditOf[address(0)][msg.sender] += req.fee - publisherFee;
        creditOf[address(0)][req.refundTo] += req.gasMoney;
        _deliver(requestId, req, output, req.fee - publisherFee);
    }

    /// @notice End a request as ORA's oracle does one that it finds invalid: its consumer hears of it
    ///         through `aiOracleCallbackError`, if it wants to, and the escrow goes back. The real
    ///         oracle never does this: here such a request reverts.
    /// @param code 0 invalid input, 1 invalid batch size.
    /// @return heard Whether there was a callback and it succeeded.
    function answerError(uint256 requestId, uint8 code, bytes calldata message)
        external
        nonReentrant
        returns (bool heard)
    {
        Recorded storage recorded = _open(requestId);
        Request memory req = recorded.req;
        _giveBack(requestId, req);
        if (req.callbackContract == address(0)) return false;
        _deliveringFor = req.refundTo;
        heard = ExactCall.callNoReturn(
            req.callbackContract,
            req.callbackGas,
            abi.encodeCall(
                IAIOracleErrorReceiver.aiOracleCallbackError,
                (requestId, code, message, recorded.callbackData)
            )
        );
        _deliveringFor = address(0);
    }

    /// @notice End a request as `refund` does after the deadline, whatever the time.
    function expire(uint256 requestId) external nonReentrant {
        _giveBack(requestId, _open(requestId).req);
    }

    /// @notice `retryCallback` with what the request had and got.
    /// @param gasLimit Exact gas for this attempt; at least what the request promised.
    function retry(uint256 requestId, uint64 gasLimit) external nonReentrant {
        Recorded storage recorded = _recorded[requestId];
        _retry(requestId, recorded.req, gasLimit, recorded.output, recorded.callbackData);
    }

    /// @inheritdoc IAIOracle
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256 requestId) {
        Request memory req = _byDefault(modelId, callbackContract, gasLimit);
        return _request(req, 1, input, callbackData);
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
        Request memory req = _byDefault(modelId, callbackContract, gasLimit);
        return _request(req, 1, input, callbackData);
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
        Request memory req = _byDefault(modelId, callbackContract, gasLimit);
        return _request(req, batchSize, input, callbackData);
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
        Request memory req = _byDefault(modelId, callbackContract, callbackGas);
        req.refundTo = refundTo;
        req.deadline = deadline;
        return _request(req, 1, input, callbackData);
    }

    /// @inheritdoc IInferenceOracle
    function topUp(uint256 requestId, Request calldata req) external payable nonReentrant {
        _requirePreimage(requestId, req);
        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);
        uint256 least = minimumTopUp(req.gasMoney);
        if (msg.value < least) revert TopUpTooSmall(msg.value, least);
        Request storage recorded = _recorded[requestId].req;
        recorded.gasMoney = _toUint96(uint256(req.gasMoney) + msg.value);
        commitments[requestId] = keccak256(abi.encode(recorded));
        emit RequestToppedUp(requestId, recorded.gasMoney);
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
        Request memory req;
        req.callbackContract = callbackContract;
        req.callbackGas = callbackGas;
        req.refundTo = refundTo;
        req.callbackDataHash = keccak256(callbackData);
        _retry(requestId, req, gasLimit, output, callbackData);
    }

    /// @inheritdoc IInferenceOracle
    function refund(uint256 requestId, Request calldata req) external nonReentrant {
        _requirePreimage(requestId, req);
        if (block.timestamp <= req.deadline) revert DeadlineNotPassed(req.deadline);
        _giveBack(requestId, req);
    }

    /// @inheritdoc IInferenceOracle
    function deposit(address account) external payable {
        if (account == address(0) || msg.value == 0) revert InvalidDeposit();
        creditOf[address(0)][account] += msg.value;
        emit Deposited(address(0), account, msg.sender, msg.value);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawTo(address to) external nonReentrant {
        _withdraw(to);
    }

    /// @inheritdoc IInferenceOracle
    function withdrawTo(address token, address to) external nonReentrant {
        if (token != address(0)) _notMocked();
        _withdraw(to);
    }

    /// @inheritdoc IInferenceOracle
    function setPaused(bool paused_) external {
        paused = paused_;
        emit PauseSet(paused_);
    }

    /// @inheritdoc IInferenceOracle
    function requestFor(
        SignedRequest calldata,
        bytes calldata,
        bytes calldata,
        bytes calldata
    ) external pure returns (uint256) {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function cancelNonce(uint256) external pure {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function fulfill(
        uint256,
        Request calldata,
        bytes calldata,
        bytes calldata,
        address,
        uint256[] calldata,
        bytes calldata
    ) external pure {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function fulfillBatch(BatchItem[] calldata, address, uint256[] calldata, bytes calldata)
        external
        pure
        returns (uint256)
    {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function depositToken(address, address, uint256) external pure {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function setProtocolFee(uint16) external pure {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function withdrawProtocolFees(address, address) external pure {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function isNonceUsed(address, uint256) external pure returns (bool) {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function hashOf(SignedRequest calldata) external pure returns (bytes32) {
        _notMocked();
    }

    /// @inheritdoc IInferenceOracle
    function tagOf(uint256, uint256[] calldata, address) external pure returns (uint256[] memory) {
        _notMocked();
    }

    /// @notice How many requests there have been.
    function requestCount() external view returns (uint256) {
        return requestIds.length;
    }

    /// @notice Id of the newest request.
    function lastRequestId() external view returns (uint256) {
        return requestIds[requestIds.length - 1];
    }

    /// @notice A request as it was made: its preimage, which `topUp` and `refund` want, and its bytes.
    function requestOf(uint256 requestId)
        external
        view
        returns (Request memory req, bytes memory input, bytes memory callbackData)
    {
        Recorded storage recorded = _recorded[requestId];
        return (recorded.req, recorded.input, recorded.callbackData);
    }

    /// @notice What the callback of an answer with these field elements gets; reverts unless each is
    ///         in the range of the model's output.
    function encode(uint256 modelId, uint256[] calldata fields)
        external
        view
        returns (bytes memory)
    {
        IModelRegistry.ProofTerms memory terms = registry.proofTerms(modelId, 1);
        if (terms.codec == CODEC_PACKED) {
            return TensorCodec.pack(
                fields, terms.outputWidth, terms.outputMinimum, terms.outputMaximum
            );
        }
        return _textCoder.format(
            fields, terms.outputScale, terms.outputMinimum, terms.outputMaximum
        );
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
    function minimumTopUp(uint256 gasMoney) public pure returns (uint256) {
        uint256 least = gasMoney / TOP_UP_DIVISOR;
        return least == 0 ? 1 : least;
    }

    /// @inheritdoc IInferenceOracle
    function status(uint256 requestId) public view returns (Status) {
        bytes32 commitment = commitments[requestId];
        if (commitment == 0) return Status.Unknown;
        if (commitment == FULFILLED) return Status.Fulfilled;
        if (commitment == REFUNDED) return Status.Refunded;
        return Status.Open;
    }

    function _request(
        Request memory req,
        uint256 rows,
        bytes calldata input,
        bytes calldata callbackData
    ) private returns (uint256 requestId) {
        if (paused) revert RequestsPaused();
        (RequestTerms terms, uint256 size, address token) =
            registry.requestTerms(req.modelId, rows);
        if (!terms.isOpen()) revert ModelNotOpen(req.modelId);
        if (token != address(0)) _notMocked();
        _checkInput(req.modelId, terms, rows, input);
        _checkCallback(req);
        req.fee = _toUint96(uint256(terms.fee()) * rows);
        req.gasUnits = _gasUnits(terms, size, req.callbackGas, callbackData.length);
        req.inputHash = keccak256(input);
        req.callbackDataHash = keccak256(callbackData);
        _rememberBaseFee();
        uint256 required = req.fee + block.basefee * req.gasUnits;
        if (msg.value < required) revert Underpaid(msg.value, required);
        req.gasMoney = _toUint96(msg.value - req.fee);
        requestId = _requestId(req, 0);
        if (commitments[requestId] != 0) requestId = _requestId(req, ++repeats[req.account]);
        commitments[requestId] = keccak256(abi.encode(req));
        _record(requestId, req, rows, input, callbackData);
    }

    function _record(
        uint256 requestId,
        Request memory req,
        uint256 rows,
        bytes calldata input,
        bytes calldata callbackData
    ) private {
        requestIds.push(requestId);
        _recorded[requestId] = Recorded(req, input, callbackData, rows, "");
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

    /// @dev Call back, then take the price of the gas out of the credit that the gas money went to:
    ///      the gas that was quoted, with what the callback took in place of what it was promised.
    function _deliver(
        uint256 requestId,
        Request memory req,
        bytes memory output,
        uint256 feePaid
    ) private {
        uint256 gasAtStart = gasleft();
        bytes memory callbackData = _recorded[requestId].callbackData;
        bool succeeded = _callBack(requestId, req, req.callbackGas, output, callbackData);
        if (!succeeded && req.callbackContract != address(0)) {
            undelivered[requestId] = _callbackHash(req, output);
        }
        emit AICallbackResult(req.account, requestId, msg.sender, output);
        uint256 used = req.gasUnits - req.callbackGas + gasAtStart - gasleft();
        uint256 price = req.gasMoney / req.gasUnits;
        if (price > tx.gasprice) price = tx.gasprice;
        // slither-disable-next-line divide-before-multiply
        uint256 gasPaid = price * used;
        if (gasPaid > req.gasMoney) gasPaid = req.gasMoney;
        creditOf[address(0)][req.refundTo] -= gasPaid;
        creditOf[address(0)][msg.sender] += gasPaid;
        emit RequestFulfilled(requestId, msg.sender, feePaid, gasPaid, succeeded);
    }

    function _retry(
        uint256 requestId,
        Request memory req,
        uint64 gasLimit,
        bytes memory output,
        bytes memory callbackData
    ) private {
        if (undelivered[requestId] == 0 || undelivered[requestId] != _callbackHash(req, output)) {
            revert NothingToRetry(requestId);
        }
        if (gasLimit < req.callbackGas) revert RetryGas(gasLimit, req.callbackGas);
        delete undelivered[requestId];
        emit CallbackRetried(requestId);
        if (!_callBack(requestId, req, gasLimit, output, callbackData)) {
            revert CallbackFailed(requestId);
        }
    }

    function _callBack(
        uint256 requestId,
        Request memory req,
        uint64 gasLimit,
        bytes memory output,
        bytes memory callbackData
    ) private returns (bool succeeded) {
        if (req.callbackContract == address(0)) return false;
        bytes memory call = abi.encodeCall(
            IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, callbackData)
        );
        _deliveringFor = req.refundTo;
        succeeded = ExactCall.callNoReturn(req.callbackContract, gasLimit, call);
        _deliveringFor = address(0);
    }

    function _giveBack(uint256 requestId, Request memory req) private {
        commitments[requestId] = REFUNDED;
        creditOf[address(0)][req.refundTo] += uint256(req.fee) + req.gasMoney;
        emit RequestRefunded(requestId, req.refundTo, req.fee, req.gasMoney);
    }

    function _withdraw(address to) private {
        uint256 amount = creditOf[address(0)][msg.sender];
        if (amount == 0 || to == address(0) || to == address(this)) revert NothingToWithdraw();
        creditOf[address(0)][msg.sender] = 0;
        emit Withdrawn(address(0), msg.sender, to, amount);
        // solhint-disable-next-line avoid-low-level-calls
        (bool success,) = to.call{value: amount}("");
        if (!success) revert WithdrawalFailed(to);
    }

    function _rememberBaseFee() private {
        uint256 last = lastBaseFee;
        uint256 drift = block.basefee > last ? block.basefee - last : last - block.basefee;
        if (drift > last / DRIFT_DIVISOR) lastBaseFee = block.basefee;
    }

    /// @dev What ORA's calls leave open: refund address and deadline.
    function _byDefault(uint256 modelId, address callbackContract, uint64 callbackGas)
        private
        view
        returns (Request memory req)
    {
        req.account = msg.sender;
        req.modelId = modelId;
        req.callbackContract = callbackContract;
        req.callbackGas = callbackGas;
        // solhint-disable-next-line avoid-tx-origin
        req.refundTo = _deliveringFor == address(0) ? tx.origin : _deliveringFor;
        req.deadline = uint64(block.timestamp) + DEFAULT_LIFETIME;
    }

    function _open(uint256 requestId) private view returns (Recorded storage) {
        Status current = status(requestId);
        if (current != Status.Open) revert NotOpen(requestId, current);
        return _recorded[requestId];
    }

    function _requirePreimage(uint256 requestId, Request calldata req) private view {
        _open(requestId);
        if (commitments[requestId] != keccak256(abi.encode(req))) {
            revert CommitmentMismatch(requestId);
        }
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

    function _checkInput(uint256 modelId, RequestTerms terms, uint256 rows, bytes calldata input)
        private
        view
    {
        uint256 length = rows * terms.inputLength();
        (int256 minimum, int256 maximum) = registry.checkInput(modelId, input);
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

    function _estimate(uint256 modelId, uint256 gasLimit, uint256 rows)
        private
        view
        returns (uint256)
    {
        (RequestTerms terms, uint256 size, address token) = registry.requestTerms(modelId, rows);
        if (!terms.isOpen()) revert ModelNotOpen(modelId);
        if (token != address(0)) _notMocked();
        uint256 baseFee = block.basefee == 0 ? lastBaseFee : block.basefee;
        return terms.fee() * rows + QUOTE_HEADROOM * baseFee * _gasUnits(terms, size, gasLimit, 0);
    }

    function _checkCallback(Request memory req) private pure {
        bool wanted = req.callbackContract != address(0);
        if (
            wanted != (req.callbackGas != 0) || req.callbackGas > MAX_CALLBACK_GAS
                || (wanted && req.callbackContract != req.account)
        ) revert InvalidCallback(req.callbackContract, req.callbackGas);
    }

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

    function _callbackHash(Request memory req, bytes memory output)
        private
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                req.callbackContract,
                req.callbackGas,
                req.refundTo,
                keccak256(output),
                req.callbackDataHash
            )
        );
    }

    function _fields(int256[] calldata outputs) private pure returns (uint256[] memory fields) {
        fields = new uint256[](outputs.length);
        for (uint256 i = 0; i < outputs.length; ++i) {
            // A number beyond the field stays one that no model's range has.
            int256 value = outputs[i];
            fields[i] = value < 0 ? TensorCodec.R - _magnitude(value) : uint256(value);
        }
    }

    function _magnitude(int256 value) private pure returns (uint256) {
        uint256 size = uint256(-(value + 1)) + 1;
        if (size > TensorCodec.R / 2) revert TensorCodec.InvalidOutput();
        return size;
    }

    function _toUint96(uint256 value) private pure returns (uint96) {
        if (value > type(uint96).max) revert SafeCastOverflowedUintDowncast(96, value);
        return uint96(value);
    }

    function _notMocked() private pure {
        revert NotMocked(msg.sig);
    }
}
