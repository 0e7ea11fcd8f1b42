package io.hydraopt.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup

/** A grid with as many columns of equal width as its widest child leaves room for. */
class Tiles(context: Context, attributes: AttributeSet?) : ViewGroup(context, attributes) {
    private val gap = resources.getDimensionPixelSize(R.dimen.gap)
    private var columns = 1
    private var cell = 0

    private val children: List<View>
        get() = List(childCount) { getChildAt(it)!! }.filter { it.visibility != GONE }

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val width = MeasureSpec.getSize(widthMeasureSpec)
        val free = MeasureSpec.makeMeasureSpec(0, MeasureSpec.UNSPECIFIED)
        children.forEach { it.measure(free, free) }
        val widest = children.maxOfOrNull { it.measuredWidth } ?: 0
        columns = ((width + gap) / (widest + gap)).coerceIn(1, MOST)
        cell = (width - gap * (columns - 1)) / columns
        val exact = MeasureSpec.makeMeasureSpec(cell, MeasureSpec.EXACTLY)
        children.forEach { it.measure(exact, free) }
        val heights = rows().sumOf { row -> row.maxOf { it.measuredHeight } }
        setMeasuredDimension(width, heights + gap * maxOf(0, rows().size - 1))
    }

    private fun rows() = children.chunked(columns)

    override fun onLayout(changed: Boolean, l: Int, t: Int, r: Int, b: Int) {
        var top = 0
        for (row in rows()) {
            val height = row.maxOf { it.measuredHeight }
            row.forEachIndexed { column, child ->
                val place = if (layoutDirection == LAYOUT_DIRECTION_RTL) columns - 1 - column else column
                val left = place * (cell + gap)
                child.layout(left, top, left + cell, top + height)
            }
            top += height + gap
        }
    }

    private companion object {
        const val MOST = 4
    }
}
