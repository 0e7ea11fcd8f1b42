package io.hydraopt.demo

import android.app.Activity
import android.os.Bundle

/** The one screen of the app. */
class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
    }
}
