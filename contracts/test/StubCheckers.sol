// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInputChecker} from "../interfaces/IInputChecker.sol";

/// @notice Says of itself what it was built with, and does with requests what it is told.
contract MoodyChecker is IInputChecker {
    enum Mood {
        Content,
        Reverting,
        Burning,
        BombingRevert
    }

    uint256 private constant BOMB = 100_000;

    Mood private _mood;
    uint256 private immutable _length;
    int256 private immutable _minimum;
    int256 private immutable _maximum;

    error Grudge();

    constructor(uint256 length, int256 minimum, int256 maximum) {
        _length = length;
        _minimum = minimum;
        _maximum = maximum;
    }

    function feel(Mood mood) external {
        _mood = mood;
    }

    function check(bytes calldata, uint8, uint8, uint8) external view {
        Mood mood = _mood;
        if (mood == Mood.Reverting) revert Grudge();
        while (mood == Mood.Burning) {}
        if (mood == Mood.BombingRevert) {
            assembly { revert(0, BOMB) }
        }
    }

    function hull() external view returns (uint256, int256, int256) {
        if (_mood == Mood.Reverting) revert Grudge();
        return (_length, _minimum, _maximum);
    }

    function rangeOf(uint256) external view returns (int256, int256) {
        return (_minimum, _maximum);
    }
}
