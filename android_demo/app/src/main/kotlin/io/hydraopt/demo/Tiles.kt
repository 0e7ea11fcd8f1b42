package io.hydraopt.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup

/** A grid with as many columns as fit the text size, and rows of equal height. */
class Tiles(context: Context, attributes: AttributeSet?) : ViewGroup(context, attributes) {
    private val gap = resources.getDimensionPixelSize(R.dimen.tile_gap)
    // sp would not do: from Android 14 on large ones grow less than the text
    private val narrowest =
        (resources.getDimension(R.dimen.tile) * resources.configuration.fontScale).toInt()
    private var columns = 1
    private var cell = 0

    private val rows: List<List<View>>
        get() = List(childCount) { getChildAt(it)!! }.chunked(columns)

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val width = MeasureSpec.getSize(widthMeasureSpec)
        columns = ((width + gap) / (narrowest + gap)).coerceIn(1, MOST)
        cell = (width - gap * (columns - 1)) / columns
        val heights = rows.sumOf(::measureRow)
        setMeasuredDimension(width, heights + gap * (rows.size - 1))
    }

    private fun measureRow(row: List<View>): Int {
        val width = MeasureSpec.makeMeasureSpec(cell, MeasureSpec.EXACTLY)
        val free = MeasureSpec.makeMeasureSpec(0, MeasureSpec.UNSPECIFIED)
        row.forEach { it.measure(width, free) }
        val height = row.maxOf { it.measuredHeight }
        val exact = MeasureSpec.makeMeasureSpec(height, MeasureSpec.EXACTLY)
        row.forEach { it.measure(width, exact) }
        return height
    }

    override fun onLayout(changed: Boolean, l: Int, t: Int, r: Int, b: Int) {
        var top = 0
        for (row in rows) {
            for ((index, child) in row.withIndex()) {
                val rightToLeft = layoutDirection == LAYOUT_DIRECTION_RTL
                val left = (if (rightToLeft) columns - 1 - index else index) * (cell + gap)
                child.layout(left, top, left + cell, top + child.measuredHeight)
            }
            top += row[0].measuredHeight + gap
        }
    }

    private companion object {
        const val MOST = 4
    }
}
