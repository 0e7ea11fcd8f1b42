package org.pytorch.executorch

/** Stand-in: an input or output of a method. */
class EValue private constructor(@JvmField val mTypeCode: Int) {
    @JvmField var mData: Any? = null

    val isNone: Boolean get() = mTypeCode == NONE

    val isTensor: Boolean get() = mTypeCode == TENSOR

    val isInt: Boolean get() = mTypeCode == INT

    val isDouble: Boolean get() = mTypeCode == DOUBLE

    val isBool: Boolean get() = mTypeCode == BOOL

    fun toTensor(): Tensor = data(TENSOR) as Tensor

    fun toInt(): Long = data(INT) as Long

    fun toDouble(): Double = data(DOUBLE) as Double

    fun toBool(): Boolean = data(BOOL) as Boolean

    private fun data(code: Int): Any? {
        check(code == mTypeCode) { "expected a value of type $code, found $mTypeCode" }
        return mData
    }

    companion object {
        private const val NONE = 0
        private const val TENSOR = 1
        private const val DOUBLE = 3
        private const val INT = 4
        private const val BOOL = 5

        @JvmStatic fun optionalNone(): EValue = EValue(NONE)

        @JvmStatic fun from(tensor: Tensor): EValue = of(TENSOR, tensor)

        @JvmStatic fun from(value: Long): EValue = of(INT, value)

        @JvmStatic fun from(value: Double): EValue = of(DOUBLE, value)

        @JvmStatic fun from(value: Boolean): EValue = of(BOOL, value)

        private fun of(code: Int, data: Any) = EValue(code).also { it.mData = data }
    }
}
