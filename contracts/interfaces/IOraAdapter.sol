// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IAIOracle, IAIOracleCallbackReceiver} from "./IAIOracle.sol";
import {IInferenceOracle} from "./IInferenceOracle.sol";
import {IModelErrors} from "./IModelErrors.sol";

/// @title ORA's whole face, for consumers that the oracle itself cannot serve
/// @notice Beside the oracle, and a caller of it like any other. Model ids are chosen here; a callback
///         may go to another contract that has agreed to it; bad input is answered by
///         `aiOracleCallbackError`. Request ids are the oracle's, but for refused requests.
/// @dev It holds no money: what a request brings is escrow or credit at the oracle when it returns.
///      What the oracle says against a request, other than its input, is passed on as a revert.
interface IOraAdapter is IAIOracle, IAIOracleCallbackReceiver, IModelErrors {
    /// @notice The life of a request here.
    /// @dev Unknown: never made here. Open: asked of the oracle; its own `status` says whether the
    ///      deadline has passed. Answered: the proved answer was delivered. Refused: bad input, the
    ///      consumer does not know yet. Told: it does.
    enum State {
        Unknown,
        Open,
        Answered,
        Refused,
        Told
    }

    /// @notice A request was made with ORA's newer calls; `requestCallback` without data
    ///         availability emits the event with seven fields, as ORA does.
    /// @param account Who made it.
    /// @param requestId Its id.
    /// @param modelId The model asked, by its id here.
    /// @param input The request bytes in the model's codec.
    /// @param callbackContract Receiver of the result, or zero.
    /// @param gasLimit Exact gas for the callback.
    /// @param callbackData Handed back to the callback unchanged.
    /// @param inputDA Always 0: calldata.
    /// @param outputDA Always 0: calldata.
    /// @param batchSize Number of inputs.
    event AICallbackRequest(
        address indexed account,
        uint256 indexed requestId,
        uint256 modelId,
        bytes input,
        address callbackContract,
        uint64 gasLimit,
        bytes callbackData,
        uint8 inputDA,
        uint8 outputDA,
        uint256 batchSize
    );
    /// @notice A result is final: the oracle has checked its proof. Follows `AICallbackResult`.
    /// @param user Who stands for it: the oracle.
    /// @param requestId The request.
    /// @param responseHash keccak256 of the output.
    event Confirm(address indexed user, uint256 requestId, bytes32 responseHash);
    /// @notice `modelId` means the oracle's model `oracleModelId` here, for good.
    event ModelSet(uint256 indexed modelId, uint256 indexed oracleModelId);
    /// @notice New requests promise this gas for a delivery's own work.
    event DeliveryGasSet(uint32 base, uint16 perByte);
    /// @notice `receiver` takes callbacks for requests of `requester`, or takes them no more.
    event RequesterAccepted(
        address indexed receiver, address indexed requester, bool accepted
    );
    /// @notice A request had bad input. Its money is the credit of `refundTo` at the oracle, and its
    ///         token fee was sent there. The fields are the arguments of `deliverError`.
    event RequestRefused(
        uint256 indexed requestId, address refundTo, uint8 code, bytes message
    );
    /// @notice The consumer was told that its request was refused.
    event ErrorDelivered(uint256 indexed requestId);

    /// @notice Only the oracle may deliver results.
    error NotOracle(address caller);
    /// @notice The callback contract is not the caller and has not accepted its requests.
    error NotAccepted(address callbackContract, address requester);
    /// @notice The id has a model already, and keeps it.
    error ModelAlreadySet(uint256 modelId);
    /// @notice A delivery's gas is between what it takes today and sixteen times that.
    error InvalidDeliveryGas(uint32 base, uint16 perByte);
    /// @notice Nothing can be delivered for this request with these arguments.
    error NotPending(uint256 requestId);
    /// @notice The request was refused in this very transaction.
    error TooEarly(uint256 requestId);
    /// @notice No error is delivered while the oracle delivers a result.
    error OracleBusy();
    /// @notice Within an error callback, requests are for one input each.
    error BatchWithinErrorCallback();
    /// @notice Passed on from the oracle, which says what is meant.
    error ModelNotOpen(uint256 oracleModelId);
    /// @notice Passed on from the oracle.
    error RequestsPaused();
    /// @notice Passed on from the oracle, where there is no consumer to tell.
    error InputLength(uint256 actual, uint256 expected);
    /// @notice Passed on from the oracle, where there is no consumer to tell.
    error TextTooLong(uint256 actual, uint256 limit);
    /// @notice Passed on from the oracle.
    error CallbackDataTooLong(uint256 actual, uint256 limit);
    /// @notice Passed on from the oracle.
    error TooMuchGas(uint256 gasUnits, uint256 limit);
    /// @notice Passed on from the oracle.
    error Underpaid(uint256 sent, uint256 required);
    /// @notice Passed on from the oracle.
    error TokenShortfall(address token, uint256 received, uint256 expected);
    /// @notice Passed on from the oracle.
    error NestedTokenPayment();

    /// @notice Say what an id means here. Owner only, once for each id, for good: as hash-made ids
    ///         and those that consumers have in their code want it.
    /// @param modelId Any number.
    /// @param oracleModelId A model of the oracle's registry.
    function setModel(uint256 modelId, uint256 oracleModelId) external;

    /// @notice Set what new requests promise for a delivery's own work, for a fork that changes what
    ///         things cost. Owner only, within `MIN_DELIVERY_GAS` and `MIN_BYTE_GAS` and sixteen
    ///         times each. What is not used is not paid.
    /// @param base Gas of any delivery.
    /// @param perByte Gas for each byte of output and callback data.
    function setDeliveryGas(uint32 base, uint16 perByte) external;

    /// @notice Take callbacks for requests of `requester`, or take them no more, those under way
    ///         included. The caller speaks for itself only.
    function setAccepted(address requester, bool accepted) external;

    /// @notice Tell a consumer that its request was refused. Anyone may, at their own cost, until it
    ///         succeeds; not in the transaction that made the request.
    /// @param requestId A refused request.
    /// @param refundTo Of `RequestRefused`.
    /// @param code Of `RequestRefused`: 0 invalid input, 1 invalid batch size.
    /// @param gasLimit Exact gas for this attempt; at least what the request promised.
    /// @param message Of `RequestRefused`: the error with which the oracle refused.
    function deliverError(
        uint256 requestId,
        address refundTo,
        uint8 code,
        uint64 gasLimit,
        bytes calldata message
    ) external;

    /// @notice A request as ORA keeps one; all zero for unknown ids.
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
        );

    /// @notice Where a request stands.
    function stateOf(uint256 requestId) external view returns (State);

    /// @notice keccak256(abi.encode(refundTo, code, keccak256(message))) while an error can be
    ///         delivered; else zero.
    function refusals(uint256 requestId) external view returns (bytes32);

    /// @notice Whether `receiver` takes callbacks for requests of `requester`.
    function isAccepted(address receiver, address requester) external view returns (bool);

    /// @notice Wei a gas: the base fee that quotes reckon with. Not enough to work out a price, which
    ///         has the gas of the proof in it: `estimateFee` has.
    function gasPrice() external view returns (uint256);

    /// @notice The oracle's id of a model. Reverts with `UnknownModel`.
    function oracleModelOf(uint256 modelId) external view returns (uint256);

    /// @notice Gas that new requests promise to any delivery, besides the consumer's.
    function deliveryGas() external view returns (uint32);

    /// @notice Gas that they promise for each byte of output and callback data.
    function byteGas() external view returns (uint16);

    /// @notice The oracle that answers.
    function oracle() external view returns (IInferenceOracle);
}
