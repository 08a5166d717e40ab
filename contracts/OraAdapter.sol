// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {TransientSlot} from "@openzeppelin/contracts/utils/TransientSlot.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {
    IAIOracle,
    IAIOracleCallbackReceiver,
    IAIOracleErrorReceiver
} from "./interfaces/IAIOracle.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";
import {IOraAdapter} from "./interfaces/IOraAdapter.sol";
import {OraModels} from "./OraModels.sol";
import {ExactCall} from "./libraries/ExactCall.sol";

/// @title ORA's whole face, for consumers that the oracle itself cannot serve
/// @notice Account and callback target of the requests that it makes of the oracle for others; passes
///         each result on to the contract that it is for, with exactly the gas that was promised.
/// @dev Invariants:
///      - Its balance is the same after every call as before, in ETH and in every token.
///      - A contract is called back for requests that it made itself, or whose maker it has accepted
///        and still accepts; at most once with a result, or once with an error, never both.
///      - A callback that fails undoes its delivery. A result is then the oracle's to retry; whatever
///        gas a retry brings beyond the promise goes to the consumer.
///
///      Nothing here is guarded against reentrancy, so that callbacks may ask again: every entry is
///      written before the call that follows from it, and money is never here between two calls.
contract OraAdapter is OraModels {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    /// @dev Where a result goes: nowhere, to the account itself, or to another contract.
    enum Target {
        None,
        Account,
        Other
    }

    /// @dev What is kept of a request; the first slot is all that a usual one takes besides its bytes.
    struct Entry {
        address account;
        uint64 gasLimit;
        uint16 modelIndex;
        State state;
        Target target;
        address other;
        bytes input;
        bytes callbackData;
    }

    /// @dev A request on its way.
    struct Ask {
        uint256 rows;
        uint256 modelId;
        address callbackContract;
        uint64 gasLimit;
        address refundTo;
        uint64 promised;
    }

    /// @notice Seconds that a request leaves for an answer, as ORA's calls do at the oracle.
    uint64 public constant LIFETIME = 1 days;

    uint8 private constant INVALID_INPUT = 0;
    uint8 private constant INVALID_BATCH_SIZE = 1;
    // In front of the consumer's callback data: refund address and promised gas.
    // slither-disable-next-line unused-state
    uint256 private constant HEAD = 28;

    /// @inheritdoc IOraAdapter
    mapping(uint256 requestId => bytes32) public refusals;

    /// @inheritdoc IOraAdapter
    mapping(address receiver => mapping(address requester => bool)) public isAccepted;

    mapping(uint256 requestId => Entry) private _entries;

    uint256 private _refusedCount;

    // Refund address of the request whose callback is running here; zero outside of one.
    address private transient _deliveringFor;
    // Whether that callback tells of an error. It is none of the oracle's, and begins while the oracle
    // is idle: if the oracle delivers all the same, the error's consumer has sent a fulfilment.
    bool private transient _deliveringError;

    constructor(IInferenceOracle oracle_, address owner_) OraModels(oracle_, owner_) {}

    /// @notice Ask a model; the result is delivered to `callbackContract.aiOracleCallback`, and what is
    ///         wrong with the input to `aiOracleCallbackError`.
    /// @param modelId Any id that was set here.
    /// @param input Request bytes in the model's codec.
    /// @param callbackContract The caller, a contract that has accepted its requests, or zero (with
    ///        `gasLimit` 0) for no callback.
    /// @param gasLimit Exact gas given to the callback.
    /// @param callbackData Handed back to the callback unchanged.
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256 requestId) {
        bytes memory message;
        uint8 code;
        Ask memory ask = _newAsk(1, modelId, callbackContract, gasLimit, callbackData);
        (requestId, code, message) = _ask(ask, input, callbackData);
        emit AICallbackRequest(
            msg.sender, requestId, modelId, input, callbackContract, gasLimit, callbackData
        );
        if (message.length != 0) _refuse(requestId, ask, code, message);
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
        if (inputDA != 0 || outputDA != 0) revert IInferenceOracle.UnsupportedDataAvailability();
        return _requestRows(
            _newAsk(1, modelId, callbackContract, gasLimit, callbackData), input, callbackData
        );
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
        if (inputDA != 0 || outputDA != 0) revert IInferenceOracle.UnsupportedDataAvailability();
        return _requestRows(
            _newAsk(batchSize, modelId, callbackContract, gasLimit, callbackData),
            input,
            callbackData
        );
    }

    /// @inheritdoc IAIOracleCallbackReceiver
    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata data)
        external
    {
        uint256 gasAtStart = gasleft();
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender);
        Entry storage entry = _entries[requestId];
        if (entry.state != State.Open) revert NotPending(requestId);
        entry.state = State.Answered;
        // Before the callback, after which no gas is set aside; undone if that fails.
        emit AICallbackResult(entry.account, requestId, msg.sender, output);
        emit Confirm(msg.sender, requestId, keccak256(output));
        if (entry.target == Target.None) return;

        uint256 granted = entry.gasLimit;
        uint256 promised = uint64(bytes8(data[20:HEAD]));
        // Less at first, since getting here took some of it; more only if a retry brought more.
        if (gasAtStart > promised) granted += (gasAtStart - promised) * 63 / 64;
        _callBack(
            requestId,
            granted,
            address(bytes20(data[:20])),
            false,
            abi.encodeCall(
                IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, data[HEAD:])
            )
        );
    }

    // The oracle calls nobody before it refuses the withdrawal that tells whether it is idle.
    // slither-disable-start reentrancy-benign,reentrancy-events,reentrancy-no-eth

    /// @inheritdoc IOraAdapter
    function deliverError(
        uint256 requestId,
        address refundTo,
        uint8 code,
        uint64 gasLimit,
        bytes calldata message
    ) external {
        if (refusals[requestId] != _refusalHash(refundTo, code, keccak256(message))) {
            revert NotPending(requestId);
        }
        if (_refusedNow(requestId).tload()) revert TooEarly(requestId);
        Entry storage entry = _entries[requestId];
        if (gasLimit < entry.gasLimit) {
            revert IInferenceOracle.RetryGas(gasLimit, entry.gasLimit);
        }
        if (!_isOracleIdle()) revert OracleBusy();
        delete refusals[requestId];
        entry.state = State.Told;
        emit ErrorDelivered(requestId);
        _callBack(
            requestId,
            gasLimit,
            refundTo,
            true,
            abi.encodeCall(
                IAIOracleErrorReceiver.aiOracleCallbackError,
                (requestId, code, message, entry.callbackData)
            )
        );
    }

    // slither-disable-end reentrancy-benign,reentrancy-events,reentrancy-no-eth

    /// @inheritdoc IOraAdapter
    function setAccepted(address requester, bool accepted) external {
        isAccepted[msg.sender][requester] = accepted;
        emit RequesterAccepted(msg.sender, requester, accepted);
    }

    /// @notice True once the proved answer was delivered; never for a request that was refused or
    ///         refunded, or whose consumer does not take it.
    function isFinalized(uint256 requestId) external view returns (bool) {
        return _entries[requestId].state == State.Answered;
    }

    /// @inheritdoc IOraAdapter
    function stateOf(uint256 requestId) external view returns (State) {
        return _entries[requestId].state;
    }

    /// @inheritdoc IOraAdapter
    function requests(uint256 requestId)
        external
        view
        returns (
            address account,
            uint256 id,
            uint256 modelId,
            bytes memory input,
            address callbackContract,
            uint64 gasLimit,
            bytes memory callbackData
        )
    {
        Entry storage entry = _entries[requestId];
        account = entry.account;
        if (entry.state != State.Unknown) {
            id = requestId;
            modelId = _modelIdAt(entry.modelIndex);
        }
        input = entry.input;
        callbackContract = _targetOf(entry);
        gasLimit = entry.gasLimit;
        callbackData = entry.callbackData;
    }

    // The oracle calls nobody back within a request, and tokens of models leave nothing here to take.
    // slither-disable-start reentrancy-benign,reentrancy-events,reentrancy-no-eth,reentrancy-eth

    /// @dev ORA's newer calls, whose event has ten fields.
    function _requestRows(Ask memory ask, bytes calldata input, bytes calldata callbackData)
        private
        returns (uint256 requestId)
    {
        bytes memory message;
        uint8 code;
        (requestId, code, message) = _ask(ask, input, callbackData);
        emit AICallbackRequest(
            msg.sender,
            requestId,
            ask.modelId,
            input,
            ask.callbackContract,
            ask.gasLimit,
            callbackData,
            0,
            0,
            ask.rows
        );
        if (message.length != 0) _refuse(requestId, ask, code, message);
    }

    /// @dev Ask the oracle and keep the request as ORA does. Where the oracle refuses the input and
    ///      there is a consumer to tell and somebody to pay back, the request gets an id of its own,
    ///      and `message` is what the oracle said; else that is passed on as a revert.
    function _ask(Ask memory ask, bytes calldata input, bytes calldata callbackData)
        private
        returns (uint256 requestId, uint8 code, bytes memory message)
    {
        OraModels.Alias memory model = _alias(ask.modelId);
        _pullFee(ask, model.token);
        bool asked;
        (asked, requestId, message) = _askOracle(ask, model.oracleModelId, input, callbackData);
        State state = State.Open;
        if (!asked) {
            bool isInput;
            (isInput, code) = _codeOf(message, ask.rows);
            if (!isInput || ask.refundTo == address(0) || ask.callbackContract == address(0)) {
                LowLevelCall.bubbleRevert(message);
            }
            state = State.Refused;
            requestId = uint256(
                keccak256(abi.encode("refused", block.chainid, address(this), ++_refusedCount))
            );
        }
        Entry storage entry = _entries[requestId];
        entry.account = msg.sender;
        entry.gasLimit = ask.gasLimit;
        entry.modelIndex = model.index;
        entry.state = state;
        if (ask.callbackContract == msg.sender) {
            entry.target = Target.Account;
        } else if (ask.callbackContract != address(0)) {
            entry.target = Target.Other;
            entry.other = ask.callbackContract;
        }
        entry.input = input;
        entry.callbackData = callbackData;
    }

    /// @dev One call to the oracle, with all the ETH that came; its answer, or its error.
    function _askOracle(
        Ask memory ask,
        uint256 oracleModelId,
        bytes calldata input,
        bytes calldata callbackData
    ) private returns (bool asked, uint256 requestId, bytes memory message) {
        bytes memory data =
            bytes.concat(bytes20(ask.refundTo), bytes8(ask.promised), callbackData);
        if (_deliveringError && ask.refundTo != address(0)) {
            // The oracle does not know of this callback and would refund whoever delivers it.
            if (ask.rows != 1) revert BatchWithinErrorCallback();
            try oracle.request{value: msg.value}(
                oracleModelId,
                input,
                address(this),
                ask.promised,
                data,
                ask.refundTo,
                uint64(block.timestamp) + LIFETIME
            ) returns (uint256 id) {
                return (true, id, "");
            } catch (bytes memory reason) {
                return (false, 0, reason);
            }
        }
        // Refunded by the oracle's rule: whoever started the transaction, or in a callback the refund
        // address of the request that is delivered.
        try oracle.requestBatchInference{value: msg.value}(
            ask.rows, oracleModelId, input, address(this), ask.promised, data, 0, 0
        ) returns (uint256 id) {
            return (true, id, "");
        } catch (bytes memory reason) {
            return (false, 0, reason);
        }
    }

    /// @dev Give the money of a refused request back and note what its consumer is to be told.
    function _refuse(uint256 requestId, Ask memory ask, uint8 code, bytes memory message) private {
        refusals[requestId] = _refusalHash(ask.refundTo, code, keccak256(message));
        _refusedNow(requestId).tstore(true);
        emit RequestRefused(requestId, ask.refundTo, code, message);
        if (msg.value != 0) oracle.deposit{value: msg.value}(ask.refundTo);
        address token = _alias(ask.modelId).token;
        uint256 fee = token == address(0) ? 0 : ask.rows * _tokenFee(ask.modelId);
        if (fee != 0) IERC20(token).safeTransfer(ask.refundTo, fee);
    }

    // slither-disable-end reentrancy-benign,reentrancy-events,reentrancy-no-eth,reentrancy-eth

    /// @dev Take the fee of a model that is paid in a token, for the oracle to take it in turn.
    function _pullFee(Ask memory ask, address token) private {
        uint256 fee = token == address(0) ? 0 : ask.rows * _tokenFee(ask.modelId);
        if (fee == 0) return;
        IERC20(token).safeTransferFrom(msg.sender, address(this), fee);
        IERC20(token).forceApprove(address(oracle), fee);
    }

    /// @dev Call the consumer of a request with exactly `gas`; reverts unless that succeeds. What was
    ///      being delivered around this, if anything, is put back afterwards: an error callback may
    ///      send a fulfilment, and a callback deliver an error.
    function _callBack(
        uint256 requestId,
        uint256 gas,
        address refundTo,
        bool isError,
        bytes memory call
    ) private {
        Entry storage entry = _entries[requestId];
        address target = _targetOf(entry);
        // Consent can be withdrawn until the last moment.
        _requireAccepted(target, entry.account);
        (address outerFor, bool outerError) = (_deliveringFor, _deliveringError);
        // Read by a request that the callback makes, which slither does not see.
        // slither-disable-next-line write-after-write,missing-zero-check
        (_deliveringFor, _deliveringError) = (refundTo, isError);
        if (!ExactCall.callNoReturn(target, gas, call)) revert IInferenceOracle.CallbackFailed(requestId);
        (_deliveringFor, _deliveringError) = (outerFor, outerError);
    }

    /// @dev Check what a request asks for, all but its input.
    function _newAsk(
        uint256 rows,
        uint256 modelId,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) private returns (Ask memory ask) {
        if ((callbackContract == address(0)) != (gasLimit == 0)) {
            revert IInferenceOracle.InvalidCallback(callbackContract, gasLimit);
        }
        if (callbackContract != address(0)) _requireAccepted(callbackContract, msg.sender);
        ask.rows = rows;
        ask.modelId = modelId;
        ask.callbackContract = callbackContract;
        ask.gasLimit = gasLimit;
        ask.refundTo = _refundAddress();
        ask.promised =
            _promise(_alias(modelId), rows, gasLimit, callbackData.length).toUint64();
    }

    /// @dev Who gets unspent money: whoever started the transaction; in a callback from here, the
    ///      refund address of the request that is delivered. Zero if the oracle is delivering to
    ///      somebody who was not called from here: only the oracle knows that one's.
    function _refundAddress() private returns (address) {
        if (_deliveringFor != address(0) && !_deliveringError) return _deliveringFor;
        if (!_isOracleIdle()) return address(0);
        // solhint-disable-next-line avoid-tx-origin
        return _deliveringError ? _deliveringFor : tx.origin;
    }

    /// @dev Whether the oracle delivers nothing now. It shows in which of its two reasons it has for
    ///      refusing this withdrawal.
    function _isOracleIdle() private returns (bool) {
        try oracle.withdrawTo(address(0)) {
            return false;
        } catch (bytes memory reason) {
            return bytes4(reason) == IInferenceOracle.NothingToWithdraw.selector;
        }
    }

    function _requireAccepted(address target, address account) private view {
        if (target != account && !isAccepted[target][account]) {
            revert NotAccepted(target, account);
        }
    }

    function _targetOf(Entry storage entry) private view returns (address) {
        if (entry.target == Target.Account) return entry.account;
        return entry.target == Target.Other ? entry.other : address(0);
    }

    /// @dev Whether the oracle's error is about the input, and ORA's code for it.
    function _codeOf(bytes memory reason, uint256 rows) private pure returns (bool, uint8) {
        bytes4 selector = bytes4(reason);
        if (selector == InvalidBatchSize.selector) return (true, INVALID_BATCH_SIZE);
        if (selector == InputLength.selector) {
            // A batch is measured by its size.
            return (true, rows == 1 ? INVALID_INPUT : INVALID_BATCH_SIZE);
        }
        return (
            selector == InputRange.selector || selector == TextSyntax.selector
                || selector == TextRange.selector
                || selector == TextTooLong.selector,
            INVALID_INPUT
        );
    }

    function _refusalHash(address refundTo, uint8 code, bytes32 messageHash)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(refundTo, code, messageHash));
    }

    /// @dev Set in the transaction that a request was refused in: ORA's consumers are never called
    ///      back before their own call has returned.
    function _refusedNow(uint256 requestId) private pure returns (TransientSlot.BooleanSlot) {
        return keccak256(abi.encode("OraAdapter.refusedNow", requestId)).asBoolean();
    }
}
