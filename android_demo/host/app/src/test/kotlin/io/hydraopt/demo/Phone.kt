package io.hydraopt.demo

import android.app.AlertDialog
import android.app.Dialog
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.os.Looper
import android.view.View
import android.widget.EditText
import android.widget.ListView
import android.widget.TextView
import android.window.WindowOnBackInvokedDispatcher
import java.io.File
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowDialog
import org.robolectric.shadows.ShadowLog

/** The app on a phone that Robolectric plays: what a user sees and does. */
class Phone {
    val controller = Robolectric.buildActivity(MainActivity::class.java)
    val activity: MainActivity get() = controller.get()

    @Suppress("DEPRECATION")
    val presenter: Presenter get() = activity.onRetainNonConfigurationInstance() as Presenter

    fun start(): Phone {
        // as Android does for an app that targets level 36; Robolectric's older parser does not
        activity.applicationInfo!!.setEnableOnBackInvokedCallback(true)
        controller.setup()
        return this
    }

    fun <T : View> view(id: Int): T = activity.findViewById(id)!!

    fun text(id: Int): String = view<TextView>(id).text.toString()

    fun tap(id: Int) {
        check(view<View>(id).performClick())
        idle()
    }

    /** The gesture, which is no key for an app that targets Android 16. */
    fun back() {
        check(WindowOnBackInvokedDispatcher.isOnBackInvokedCallbackEnabled(activity))
        val front = (dialog?.window ?: activity.window)!!.decorView
        front.viewRootImpl.onBackInvokedDispatcher.topCallback!!.onBackInvoked()
        idle()
    }

    fun type(id: Int, text: String) {
        view<EditText>(id).setText(text)
        idle()
    }

    /** Does what is to be done on the main thread; not forever, while an answer comes. */
    fun idle() {
        val looper = shadowOf(Looper.getMainLooper())
        for (count in 0 until 20) {
            if (looper.isIdle) return
            looper.runOneTask()
        }
    }

    fun await(what: String, fit: () -> Boolean) = await("$what; ${told()}", ::step, fit)

    private fun step() {
        Thread.sleep(5)
        idle()
    }

    private fun told() =
        listOf(R.id.bundle_name, R.id.bundle_details, R.id.error, R.id.status).map(::text)

    /** Waits until the session's thread has nothing to do. */
    fun awaitRest() = await("rest") {
        text(R.id.bundle_details).let { " · " in it || "Tap to" in it } &&
            !text(R.id.status).endsWith('…')
    }

    val dialog: AlertDialog? get() = ShadowDialog.getLatestDialog()
        ?.takeIf(Dialog::isShowing) as AlertDialog?

    private val names: List<TextView>
        get() {
            val list = dialog!!.findViewById<ListView>(R.id.list)!!
            return List(list.adapter!!.count) {
                list.adapter!!.getView(it, null, list)!!.findViewById(R.id.name)!!
            }
        }

    val rows: List<String> get() = names.map { it.text.toString() }

    /** Rows that have a mark and are read aloud as the current one. */
    val marked: List<String>
        get() = names.filter { it.compoundDrawablesRelative[2] != null }.map {
            check(it.contentDescription.toString() == "${it.text}, current")
            it.text.toString()
        }

    fun tapRow(name: String) {
        val list = dialog!!.findViewById<ListView>(R.id.list)!!
        check(list.performItemClick(list, rows.indexOf(name), 0))
        idle()
    }

    fun search(query: String) {
        dialog!!.findViewById<EditText>(R.id.search)!!.setText(query)
        idle()
    }

    fun choose(task: String) {
        tap(R.id.task)
        search(task)
        tapRow(task)
        awaitRest()
    }

    /** Turns the phone, makes it dark, … */
    fun change(qualifiers: String) {
        RuntimeEnvironment.setQualifiers(qualifiers)
        controller.configurationChange()
        controller.visible()
        idle()
    }

    /** What is to be seen, whole screen and what lies over it. */
    fun screenshot(name: String) {
        idle()
        val bitmap = drawn(activity.window!!.decorView)
        dialog?.window?.decorView?.let { over ->
            val canvas = Canvas(bitmap)
            canvas.drawColor(Color.argb(130, 0, 0, 0))
            val left = (bitmap.width - over.width) / 2f
            canvas.drawBitmap(drawn(over), left, (bitmap.height - over.height) / 2f, null)
        }
        val directory = File(System.getProperty("screenshots"))
        directory.mkdirs()
        File(directory, "$name.png").outputStream().use {
            check(bitmap.compress(Bitmap.CompressFormat.PNG, 100, it))
        }
    }

    private fun drawn(view: View): Bitmap {
        view.jumpDrawablesToCurrentState() // there is no time for animations
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)!!
        view.draw(Canvas(bitmap))
        return bitmap
    }

    companion object {
        /** What a developer reads in Android's log. */
        val log: List<String> get() = ShadowLog.getLogsForTag("hydraopt").map { it.msg }

        const val SIZE = "w400dp-h880dp-xhdpi"

        /** Where adb pushes bundles. */
        val pushed: File
            get() = RuntimeEnvironment.getApplication().getExternalFilesDir("bundles")!!
    }
}
