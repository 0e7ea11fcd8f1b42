package org.pytorch.executorch

/** Stand-in: types of a tensor's numbers. */
enum class DType(@JvmField val jniCode: Int) {
    UINT8(0),
    INT8(1),
    INT16(2),
    INT32(3),
    INT64(4),
    HALF(5),
    FLOAT(6),
    DOUBLE(7),
    BOOL(11);

    companion object {
        @JvmStatic
        fun fromJniCode(jniCode: Int): DType = values().first { it.jniCode == jniCode }
    }
}
