// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IAIOracle} from "./interfaces/IAIOracle.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IOraAdapter} from "./interfaces/IOraAdapter.sol";

/// @title Models by chosen ids, and what a delivery to a consumer costs
/// @notice The owner gives ids to the oracle's models, each once, and can raise the gas that new
///         requests promise. It can touch no request and no money, and may renounce.
abstract contract OraModels is IOraAdapter, Ownable2Step {
    using SafeCast for uint256;

    /// @dev One slot. What is kept of a model cannot change: the registry's never do.
    struct Alias {
        uint48 oracleModelId;
        uint16 index;
        uint32 rowBytes;
        address token;
    }

    /// @notice Gas of a delivery to a consumer, besides the consumer's own: measured, with room.
    uint32 public constant MIN_DELIVERY_GAS = 28_000;
    /// @notice Gas of a delivery for each byte of output or callback data: log, hash and copies.
    uint16 public constant MIN_BYTE_GAS = 12;

    uint256 private constant ROOM = 16;
    // Most bytes that one number of a text result can have: sign, digits of a 256-bit number, point,
    // six more digits, comma.
    uint256 private constant TEXT_NUMBER_BYTES = 87;
    uint8 private constant CODEC_PACKED = 0;

    /// @inheritdoc IOraAdapter
    IInferenceOracle public immutable oracle;

    /// @inheritdoc IOraAdapter
    uint32 public deliveryGas = MIN_DELIVERY_GAS;
    /// @inheritdoc IOraAdapter
    uint16 public byteGas = MIN_BYTE_GAS;

    uint256[] private _modelIds;
    mapping(uint256 modelId => Alias) private _aliases;
    // Only for fees in a token; what the oracle takes of ETH it takes of what comes along.
    mapping(uint256 modelId => uint96) private _tokenFees;

    constructor(IInferenceOracle oracle_, address owner_) Ownable(owner_) {
        oracle = oracle_;
    }

    /// @inheritdoc IOraAdapter
    function setModel(uint256 modelId, uint256 oracleModelId) external onlyOwner {
        if (_aliases[modelId].oracleModelId != 0) revert ModelAlreadySet(modelId);
        IModelRegistry.Model memory model = oracle.registry().getModel(oracleModelId);
        uint256 numberBytes =
            model.codec == CODEC_PACKED ? model.output.width : TEXT_NUMBER_BYTES;
        _aliases[modelId] = Alias({
            oracleModelId: oracleModelId.toUint48(),
            index: _modelIds.length.toUint16(),
            rowBytes: (numberBytes * model.output.elements).toUint32(),
            token: model.token
        });
        if (model.token != address(0)) _tokenFees[modelId] = model.fee;
        _modelIds.push(modelId);
        emit ModelSet(modelId, oracleModelId);
    }

    /// @inheritdoc IOraAdapter
    function setDeliveryGas(uint32 base, uint16 perByte) external onlyOwner {
        if (
            base < MIN_DELIVERY_GAS || base > ROOM * MIN_DELIVERY_GAS || perByte < MIN_BYTE_GAS
                || perByte > ROOM * MIN_BYTE_GAS
        ) revert InvalidDeliveryGas(base, perByte);
        deliveryGas = base;
        byteGas = perByte;
        emit DeliveryGasSet(base, perByte);
    }

    /// @inheritdoc IAIOracle
    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256) {
        Alias memory model = _alias(modelId);
        return oracle.estimateFee(model.oracleModelId, _promise(model, 1, gasLimit, 0));
    }

    /// @inheritdoc IAIOracle
    function estimateFeeBatch(uint256 modelId, uint256 gasLimit, uint256 batchSize)
        external
        view
        returns (uint256)
    {
        Alias memory model = _alias(modelId);
        return oracle.estimateFeeBatch(
            model.oracleModelId, _promise(model, batchSize, gasLimit, 0), batchSize
        );
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
        return oracle.getModel(_alias(modelId).oracleModelId);
    }

    /// @inheritdoc IAIOracle
    function numberOfModels() external view returns (uint256) {
        return _modelIds.length;
    }

    /// @inheritdoc IAIOracle
    function modelIDs(uint256 index) external view returns (uint256) {
        uint256 length = _modelIds.length;
        if (index >= length) revert IInferenceOracle.IndexOutOfRange(index, length);
        return _modelIds[index];
    }

    /// @inheritdoc IOraAdapter
    function gasPrice() external view returns (uint256) {
        return block.basefee == 0 ? oracle.lastBaseFee() : block.basefee;
    }

    /// @inheritdoc IOraAdapter
    function oracleModelOf(uint256 modelId) external view returns (uint256) {
        return _alias(modelId).oracleModelId;
    }

    function _alias(uint256 modelId) internal view returns (Alias memory model) {
        model = _aliases[modelId];
        if (model.oracleModelId == 0) revert UnknownModel(modelId);
    }

    function _modelIdAt(uint256 index) internal view returns (uint256) {
        return _modelIds[index];
    }

    function _tokenFee(uint256 modelId) internal view returns (uint256) {
        return _tokenFees[modelId];
    }

    /// @dev Gas that a request promises to its delivery: the consumer's, the 63rd part that the EVM
    ///      keeps back from it (EIP-150), and what the delivery itself takes.
    function _promise(
        Alias memory model,
        uint256 rows,
        uint256 gasLimit,
        uint256 callbackDataLength
    ) internal view returns (uint256) {
        return gasLimit + gasLimit / 63 + 1 + deliveryGas
            + byteGas * (rows * model.rowBytes + callbackDataLength);
    }
}
